import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { Invalid, Reviews } from '../src/reviews.js';
import { serve } from '../src/server.js';

const noon = () => new Date('2026-11-03T12:00:00Z');

test('the average has one decimal and the newest review comes first', () => {
  const reviews = new Reviews({}, noon);
  for (const [author, stars] of [['Ada', 5], ['Bob', 4], ['Cem', 4]]) reviews.add('compass', { author, stars });
  const { average, reviews: list } = reviews.of('compass');
  assert.equal(average, 4.3);
  assert.deepEqual(list.map((review) => review.author), ['Cem', 'Bob', 'Ada']);
  assert.equal(list[0].written, '2026-11-03T12:00:00.000Z');
});

test('a product without reviews has no average', () => {
  assert.deepEqual(new Reviews().of('winch'), { product: 'winch', average: null, reviews: [] });
});

for (const [name, review] of Object.entries({
  'no author': { stars: 3 },
  'six stars': { author: 'Ada', stars: 6 },
  'half a star': { author: 'Ada', stars: 2.5 },
  'a very long text': { author: 'Ada', stars: 3, text: 'x'.repeat(2001) },
})) {
  test(`refuses a review with ${name}`, () => {
    assert.throws(() => new Reviews().add('flag', review), Invalid);
  });
}

test('over HTTP', async (t) => {
  const server = serve(new Reviews({}, noon), () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const base = `http://127.0.0.1:${server.address().port}`;
  const post = (text) => fetch(`${base}/products/flag/reviews`, { method: 'POST', body: text });

  assert.equal((await fetch(`${base}/healthz`)).status, 200);
  assert.equal((await post(JSON.stringify({ author: 'Ada', stars: 5 }))).status, 201);
  assert.equal((await (await fetch(`${base}/products/flag/reviews`)).json()).average, 5);
  assert.equal((await post('five stars')).status, 400);
  assert.equal((await fetch(`${base}/flags`)).status, 404);
});
