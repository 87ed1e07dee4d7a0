// Web is the storefront: HTML pages over all other services.
import { serve } from './server.js';
import { client, url } from './upstream.js';

const log = (line) => console.log(JSON.stringify({ time: new Date().toISOString(), level: 'info', service: 'web', ...line }));

const services = Object.fromEntries(
  ['catalog', 'cart', 'orders', 'reviews', 'search', 'delivery', 'recommend'].map((name) => [name, client(name, url(process.env, name))]),
);
const server = serve(services, log);
server.listen(Number(process.env.PORT ?? 8080), () => log({ msg: 'listening', port: server.address().port }));
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close(() => process.exit(0)));
