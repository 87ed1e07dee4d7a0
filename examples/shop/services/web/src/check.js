// Looks at the shop as it was rolled out: every service answers, and somebody can buy something.
// Slipway runs it in the cluster, after web was rolled out there, and says where the services are.
const TRIES = 10;

/** Fetches a page, again for a while: a new address takes a moment to be known on every node. */
async function get(url, options) {
  for (let left = TRIES; ; left--) {
    try {
      const response = await fetch(url, { ...options, signal: AbortSignal.timeout(5000) });
      if (response.ok) return await response.text();
      if (left === 1) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
    } catch (error) {
      if (left === 1) throw new Error(`${url}: ${error.cause?.code ?? error.message}`, { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const where = Object.fromEntries(
  ['catalog', 'cart', 'orders', 'reviews', 'search', 'delivery', 'recommend', 'web'].map((name) => [name, process.env[`SLIPWAY_URL_${name.toUpperCase()}`]]),
);
for (const [name, base] of Object.entries(where)) {
  await get(`${base}/healthz`);
  console.log(`${name} answers at ${base}`);
}
const products = JSON.parse(await get(`${where.catalog}/products`));
const home = await get(`${where.web}/`);
for (const product of products) {
  if (!home.includes(product.name)) throw new Error(`the home page lacks ${product.name}`);
}
console.log(`the home page shows all ${products.length} products`);
const found = JSON.parse(await get(`${where.search}/search?q=latern`));
if (found[0]?.id !== 'lantern') throw new Error(`search finds ${JSON.stringify(found)} for "latern"`);
const quote = JSON.parse(await get(`${where.delivery}/quotes/be?total=8900`));
console.log(`search forgives a slip of the finger; ${quote.carrier} delivers for ${quote.cents} cents`);

// Somebody buys two things, and from then on they are recommended together.
const put = (product) => ({ method: 'POST', body: new URLSearchParams({ product, quantity: '1' }), headers: { cookie } });
const cookie = `customer=${crypto.randomUUID()}`;
for (const product of ['lantern', 'bowline']) await get(`${where.web}/cart`, put(product));
await get(`${where.web}/checkout`, { method: 'POST', headers: { cookie } });
const { also } = JSON.parse(await get(`${where.recommend}/products/lantern/also`));
if (!also.includes('bowline')) throw new Error(`lantern and bowline were bought together, and recommend says ${also}`);
console.log(`lantern is often bought with ${also.join(', ')}`);
