import { createServer } from 'node:http';

import { Invalid } from './reviews.js';

const MAX_BODY = 64 * 1024;

/** An HTTP server with GET /healthz, and GET and POST /products/{id}/reviews. */
export function serve(reviews, log) {
  return createServer(async (request, response) => {
    const answer = (status, value) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
      if (request.url !== '/healthz') log({ msg: 'request', method: request.method, path: request.url, status });
    };
    const product = /^\/products\/([\w-]+)\/reviews$/.exec(request.url)?.[1];
    try {
      if (request.url === '/healthz') answer(200, { status: 'ok' });
      else if (product && request.method === 'GET') answer(200, reviews.of(product));
      else if (product && request.method === 'POST') answer(201, reviews.add(product, await body(request)));
      else answer(404, { error: `nothing at ${request.method} ${request.url}` });
    } catch (error) {
      if (error instanceof Invalid) answer(400, { error: error.message });
      else {
        log({ level: 'error', msg: error.message });
        answer(500, { error: 'something went wrong here' });
      }
    }
  });
}

async function body(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_BODY) throw new Invalid('the body is too large');
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Invalid('the body is not JSON');
  }
}
