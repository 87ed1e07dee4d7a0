import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import * as pages from './pages.js';
import { Refused } from './upstream.js';

const MAX_BODY = 16 * 1024;
const NONE = { average: null, reviews: [] };

/** The storefront over four services, each a function (method, path, body) → value. */
export function serve({ catalog, cart, orders, reviews }, log) {
  // A shop without reviews still sells.
  const reviewsOf = async (id) => {
    try {
      return await reviews('GET', `/products/${id}/reviews`);
    } catch (error) {
      log({ level: 'warn', msg: error.message });
      return NONE;
    }
  };

  const routes = {
    'GET /': async () => {
      const products = await catalog('GET', '/products');
      const rated = products.map(async (p) => ({ ...p, average: (await reviewsOf(p.id)).average }));
      return pages.home(await Promise.all(rated));
    },
    'GET /products': async ({ id }) => {
      const [product, said] = await Promise.all([catalog('GET', `/products/${id}`), reviewsOf(id)]);
      return pages.product(product, said);
    },
    'GET /cart': async ({ customer }) => pages.cart(await cart('GET', `/carts/${customer}`)),
    'POST /cart': async ({ customer, form }) => {
      const quantity = Number(form.get('quantity') ?? 1);
      const path = `/carts/${customer}/items/${encodeURIComponent(form.get('product') ?? '')}`;
      return pages.cart(await cart('PUT', path, { quantity }));
    },
    'POST /checkout': async ({ customer }) => pages.thanks(await orders('POST', '/orders', { cart: customer })),
  };

  return createServer(async (request, response) => {
    if (request.url === '/healthz') {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
      return;
    }
    const { pathname } = new URL(request.url, 'http://shop');
    const [, first, id] = /^\/(\w*)(?:\/([\w-]+))?$/.exec(pathname) ?? [];
    const customer = customerOf(request) ?? randomUUID();
    const answer = (status, text) => {
      response.writeHead(status, {
        'content-type': 'text/html; charset=utf-8',
        'set-cookie': `customer=${customer}; Path=/; HttpOnly; SameSite=Lax`,
      });
      response.end(text);
      log({ msg: 'request', method: request.method, path: pathname, status });
    };
    const route = routes[`${request.method} /${first}`];
    if (!route || (first === 'products') !== (id !== undefined)) {
      answer(404, pages.failure('there is no such page'));
      return;
    }
    try {
      const form = request.method === 'POST' ? new URLSearchParams(await body(request)) : undefined;
      answer(200, await route({ id, customer, form }));
    } catch (error) {
      if (!(error instanceof Refused)) log({ level: 'error', msg: error.stack });
      answer(error.status ?? 500, pages.failure(error instanceof Refused ? error.message : 'something went wrong here'));
    }
  });
}

function customerOf(request) {
  return /(?:^|; )customer=([\w-]{36})(?:;|$)/.exec(request.headers.cookie ?? '')?.[1];
}

async function body(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_BODY) throw new Refused('web', 413, 'the form is too large');
  }
  return text;
}
