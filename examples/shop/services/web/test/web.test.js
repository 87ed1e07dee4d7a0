import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { html } from '../src/pages.js';
import { serve } from '../src/server.js';
import { client, Refused, url } from '../src/upstream.js';

test('finds services by URL, by Kubernetes variables, and by DNS', () => {
  assert.equal(url({}, 'gift-cards'), 'http://gift-cards');
  assert.equal(url({ GIFT_CARDS_SERVICE_HOST: '10.96.0.7', GIFT_CARDS_SERVICE_PORT: '8080' }, 'gift-cards'), 'http://10.96.0.7:8080');
  assert.equal(url({ GIFT_CARDS_SERVICE_HOST: 'fd00::7' }, 'gift-cards'), 'http://[fd00::7]:80');
  assert.equal(url({ GIFT_CARDS_URL: 'http://localhost:1/', GIFT_CARDS_SERVICE_HOST: '10.96.0.7' }, 'gift-cards'), 'http://localhost:1');
});

test('a service that cannot be reached is a 502 with its name', async () => {
  await assert.rejects(client('cart', 'http://127.0.0.1:1')('GET', '/'), (error) => {
    assert(error instanceof Refused);
    assert.equal(error.status, 502);
    assert.match(error.message, /^cart: cannot be reached/);
    return true;
  });
});

test('html escapes what is put in, but not other html', () => {
  assert.equal(html`<b>${'<i>&'}</b>${[html`<u>${1}</u>`]}`.toString(), '<b>&lt;i&gt;&amp;</b><u>1</u>');
});

const lantern = { id: 'lantern', name: 'Brass <lantern>', cents: 8900, stock: 6 };

/** A shop of one product; calls are noted, and a service can be made to fail. */
async function shop(t, broken = {}) {
  const calls = [];
  const answers = {
    'catalog GET /products': [lantern],
    'catalog GET /products/lantern': lantern,
    'search GET /search?q=latern': [lantern],
    'recommend GET /products/lantern/also': { also: ['compass'] },
    'recommend POST /bought': { counted: 1 },
    'delivery GET /quotes/be?total=8900': { carrier: 'Post', cents: 495, days: 2 },
    'reviews GET /products/lantern/reviews': { average: 4.5, reviews: [{ author: 'Ines', stars: 5, text: 'Warm light' }] },
  };
  const service = (name) => async (method, path, body) => {
    calls.push([name, method, path, body]);
    if (broken[name]) throw broken[name];
    if (name === 'cart') return { items: [{ ...lantern, quantity: body?.quantity ?? 1 }], total: 8900 };
    if (name === 'orders') return { id: 'K7', total: 9395, lines: [{ product: 'lantern' }] };
    const answer = answers[`${name} ${method} ${path}`];
    if (!answer) throw new Refused(name, 404, 'no such product');
    return answer;
  };
  const names = ['catalog', 'cart', 'orders', 'reviews', 'search', 'delivery', 'recommend'];
  const server = serve(Object.fromEntries(names.map((name) => [name, service(name)])), () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const base = `http://127.0.0.1:${server.address().port}`;
  return { calls, get: (path, options) => fetch(base + path, options) };
}

test('the home page lists products with prices and ratings', async (t) => {
  const { get } = await shop(t);
  const text = await (await get('/')).text();
  assert.match(text, /Brass &lt;lantern&gt;/);
  assert.match(text, /€ 89\.00/);
  assert.match(text, /★ 4\.5/);
});

test('without what is only useful the shop still sells', async (t) => {
  const gone = (name) => [name, new Refused(name, 502, 'cannot be reached')];
  const { get } = await shop(t, Object.fromEntries(['reviews', 'recommend', 'delivery'].map(gone)));
  const response = await get('/products/lantern');
  assert.equal(response.status, 200);
  assert.match(await response.text(), /no reviews yet/);
  for (const path of ['/cart', '/checkout']) {
    assert.equal((await get(path, { method: 'POST', body: new URLSearchParams({ product: 'lantern' }) })).status, 200);
  }
});

test('search, recommendations and a quote are shown', async (t) => {
  const { get } = await shop(t);
  assert.match(await (await get('/?q=latern')).text(), /value="latern"[^]*Brass &lt;lantern&gt;/);
  assert.match(await (await get('/products/lantern')).text(), /Often bought with it: <a href="\/products\/compass">/);
  assert.match(await (await get('/cart')).text(), /Sent by Post for € 4\.95, in 2 days/);
});

test('a customer keeps the same cart from page to page, and buys it', async (t) => {
  const { calls, get } = await shop(t);
  const first = await get('/cart', { method: 'POST', body: new URLSearchParams({ product: 'lantern', quantity: '2' }) });
  const cookie = first.headers.get('set-cookie').split(';')[0];
  const customer = cookie.replace('customer=', '');
  assert.deepEqual(calls.at(-2), ['cart', 'PUT', `/carts/${customer}/items/lantern`, { quantity: 2 }]);
  const bought = await get('/checkout', { method: 'POST', headers: { cookie } });
  assert.deepEqual(calls.at(-2), ['orders', 'POST', '/orders', { cart: customer }]);
  assert.deepEqual(calls.at(-1), ['recommend', 'POST', '/bought', { products: ['lantern'] }]);
  assert.match(await bought.text(), /order K7 over € 93\.95/);
});

test('what a service refuses is told with its status', async (t) => {
  const { get } = await shop(t, { cart: new Refused('cart', 409, '7 of "lantern" wanted, 6 left') });
  const response = await get('/cart', { method: 'POST', body: new URLSearchParams({ product: 'lantern', quantity: '7' }) });
  assert.equal(response.status, 409);
  assert.match(await response.text(), /6 left/);
  assert.equal((await get('/products/anchor')).status, 404);
  assert.equal((await get('/admin')).status, 404);
  assert.equal((await get('/healthz')).status, 200);
});
