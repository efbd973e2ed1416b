/** 0b2: a message's text moves into a body that names its format. */
import { migrate } from './migrate.mjs';

migrate({
  from: 3,
  to: 4,
  up: ({ id, at, author, text, ...rest }) => ({ id, at, author, body: { format: 'plain', text }, ...rest }),
  down: ({ id, at, author, body, ...rest }) => ({ id, at, author, text: body.text, ...rest }),
});
