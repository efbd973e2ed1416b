/** Texts of others, cut to what may be stored of them: whole characters, and few bytes each. Pure. */

/**
 * As much of a text as `chars` characters (UTF-16) hold; never half of one, which could be neither sent nor made
 * part of a key. A control character counts as two, because JSON writes six bytes for it: so it writes no text
 * with more than three bytes for each of `chars`.
 */
export function cutText(text: string, chars: number): string {
  let room = chars;
  let end = 0;
  for (const character of text) {
    room -= character < ' ' ? 2 : character.length;
    if (room < 0) break;
    end += character.length;
  }
  return text.slice(0, end).replace(/\p{Surrogate}/gu, '\ufffd');
}
