import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import * as pages from './pages.js';
import { Refused } from './upstream.js';

const MAX_BODY = 16 * 1024;
const COUNTRY = 'be';

/** The storefront over seven services, each a function (method, path, body) → value. */
export function serve({ catalog, cart, orders, reviews, search, delivery, recommend }, log) {
  // A shop without reviews, recommendations and quotes still sells.
  const orElse = async (asked, otherwise) => {
    try {
      return await asked;
    } catch (error) {
      log({ level: 'warn', msg: error.message });
      return otherwise;
    }
  };
  const reviewsOf = (id) => orElse(reviews('GET', `/products/${id}/reviews`), { average: null, reviews: [] });
  const alsoBought = (id) => orElse(recommend('GET', `/products/${id}/also`), { also: [] });
  const quote = (total) => orElse(delivery('GET', `/quotes/${COUNTRY}?total=${total}`), undefined);

  const routes = {
    'GET /': async ({ query }) => {
      const words = query.get('q') ?? '';
      const all = () => catalog('GET', '/products');
      const products = words === '' ? await all() : await search('GET', `/search?q=${encodeURIComponent(words)}`);
      const rated = products.map(async (p) => ({ ...p, average: (await reviewsOf(p.id)).average }));
      return pages.home(await Promise.all(rated), words);
    },
    'GET /products': async ({ id }) => {
      const [product, said, { also }] = await Promise.all([catalog('GET', `/products/${id}`), reviewsOf(id), alsoBought(id)]);
      return pages.product(product, said, also);
    },
    'GET /cart': async ({ customer }) => {
      const full = await cart('GET', `/carts/${customer}`);
      return pages.cart(full, await quote(full.total));
    },
    'POST /cart': async ({ customer, form }) => {
      const quantity = Number(form.get('quantity') ?? 1);
      const path = `/carts/${customer}/items/${encodeURIComponent(form.get('product') ?? '')}`;
      const full = await cart('PUT', path, { quantity });
      return pages.cart(full, await quote(full.total));
    },
    'POST /checkout': async ({ customer }) => {
      const order = await orders('POST', '/orders', { cart: customer });
      await orElse(recommend('POST', '/bought', { products: order.lines.map((line) => line.product) }));
      return pages.thanks(order);
    },
  };

  return createServer(async (request, response) => {
    if (request.url === '/healthz') {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
      return;
    }
    const { pathname, searchParams: query } = new URL(request.url, 'http://shop');
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
      answer(200, await route({ id, query, customer, form }));
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
