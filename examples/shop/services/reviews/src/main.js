// Reviews keeps what customers say about products.
import { Reviews } from './reviews.js';
import { serve } from './server.js';

const log = (line) => console.log(JSON.stringify({ time: new Date().toISOString(), level: 'info', service: 'reviews', ...line }));

const seed = {
  lantern: [
    { author: 'Ines', stars: 5, text: 'Warm light, solid brass.' },
    { author: 'Piet', stars: 4, text: 'Heavier than it looks.' },
  ],
  fender: [{ author: 'Marta', stars: 3, text: 'Loses air over the winter.' }],
};

const server = serve(new Reviews(seed), log);
server.listen(Number(process.env.PORT ?? 8080), () => log({ msg: 'listening', port: server.address().port }));
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close(() => process.exit(0)));
