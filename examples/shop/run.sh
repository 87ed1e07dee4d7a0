#!/bin/sh
# Starts the five services on this machine, without containers, and stops them together.
set -eu
cd "$(dirname "$0")"
mkdir -p bin
for s in catalog cart orders; do (cd services/$s && go build -o ../../bin/$s .); done
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT INT TERM
export CATALOG_URL=http://localhost:8081 CART_URL=http://localhost:8082
export ORDERS_URL=http://localhost:8083 REVIEWS_URL=http://localhost:8084
PORT=8081 bin/catalog &
PORT=8082 bin/cart &
PORT=8083 bin/orders &
PORT=8084 node services/reviews/src/main.js &
PORT=8080 node services/web/src/main.js
