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
  ['catalog', 'cart', 'orders', 'reviews', 'web'].map((name) => [name, process.env[`SLIPWAY_URL_${name.toUpperCase()}`]]),
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
