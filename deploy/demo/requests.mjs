/**
 * HTTP as a stranger would do it: a new connection for each request, so that an answer says something
 * about the service as it is now, and nothing about a connection that is left over.
 */
import { request } from 'node:http';

const timeoutMs = 5_000;

/** The JSON body of a 2xx answer; throws for anything else. */
export async function getJson(url) {
  return JSON.parse((await send('GET', url)).body);
}

/** Posts JSON; throws unless the answer is 2xx. */
export async function postJson(url, body) {
  await send('POST', url, JSON.stringify(body));
}

/** Whether the service answers a GET with 2xx. */
export async function answers(url) {
  try {
    await send('GET', url);
    return true;
  } catch {
    // Refused, in maintenance, or too slow: a user got no answer.
    return false;
  }
}

function send(method, url, body) {
  return new Promise((resolve, reject) => {
    const call = request(url, { method, agent: false, timeout: timeoutMs }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const isGood = response.statusCode >= 200 && response.statusCode < 300;
        if (isGood) resolve({ body: Buffer.concat(chunks).toString('utf8') });
        else reject(new Error(`${method} ${url} was answered with ${response.statusCode}`));
      });
    });
    call.on('timeout', () =>
      call.destroy(new Error(`${method} ${url} was not answered within ${timeoutMs} ms`)),
    );
    call.on('error', reject);
    call.end(body);
  });
}
