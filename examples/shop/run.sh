#!/bin/sh
# Starts the services on this machine, without containers, and stops them together.
set -eu
cd "$(dirname "$0")"
mkdir -p bin
for s in catalog cart orders; do (cd services/$s && go build -o ../../bin/$s .); done
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT INT TERM
export CATALOG_URL=http://localhost:8081 CART_URL=http://localhost:8082
export ORDERS_URL=http://localhost:8083 REVIEWS_URL=http://localhost:8084
export SEARCH_URL=http://localhost:8085 DELIVERY_URL=http://localhost:8086 RECOMMEND_URL=http://localhost:8087
export PYTHONPATH=libs/pykit PYTHONDONTWRITEBYTECODE=1
if command -v redis-server >/dev/null; then
  redis-server --port 8088 --save "" --loglevel warning &
  export REDIS_URL=redis://localhost:8088
  python3 services/recommend/migrate.py
else
  echo "no redis-server here: the shop runs without recommendations" >&2
fi
PORT=8081 bin/catalog &
PORT=8082 bin/cart &
PORT=8083 bin/orders &
PORT=8084 node services/reviews/src/main.js &
PORT=8085 python3 services/search/search.py &
PORT=8086 python3 services/delivery/delivery.py &
PORT=8087 python3 services/recommend/recommend.py &
PORT=8080 node services/web/src/main.js
