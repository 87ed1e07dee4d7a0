"""Recommend says what people who bought one thing also bought."""

import itertools
import os
import threading

import pykit
import redis

VERSION = 2  # of what is in Redis; migrate.py brings it there
MOST = 3  # products that are recommended
MOST_IN_ORDER = 50


def address(env):
    """Where Redis is: REDIS_URL, else the Service that the cluster calls store."""
    if env.get("REDIS_URL"):
        return env["REDIS_URL"]
    host = env.get("STORE_SERVICE_HOST", "store")
    return f"redis://{f'[{host}]' if ':' in host else host}:{env.get('STORE_SERVICE_PORT', '6379')}"


class Recommend:
    """Counts in Redis: the sorted set also:<product> has every product that was bought together with it."""

    def __init__(self, store):
        self.store, self.one = store, threading.Lock()

    def call(self, *words):
        try:
            with self.one:
                return self.store.call(*words)
        except OSError as error:
            raise pykit.Refusal(503, f"the store cannot be reached: {error}") from error

    def bought(self, products):
        """Remembers that these were bought together."""
        if not isinstance(products, list) or not all(isinstance(p, str) for p in products):
            raise pykit.Refusal(400, 'want {"products": [id, …]}')
        if len(products) > MOST_IN_ORDER:
            raise pykit.Refusal(400, f"{len(products)} products in one order; at most {MOST_IN_ORDER} are counted")
        for a, b in itertools.permutations(sorted(set(products)), 2):
            self.call("ZINCRBY", f"also:{a}", 1, b)
        return {"counted": len(set(products))}

    def also(self, product):
        """The products that were bought with it most often."""
        return {"product": product, "also": self.call("ZREVRANGE", f"also:{product}", 0, MOST - 1)}

    def ready(self):
        """Refuses while the store is not there, or has not been migrated."""
        version = int(self.call("GET", "version") or 0)
        if version < VERSION:
            raise pykit.Refusal(503, f"the store has version {version}, want {VERSION}: run migrate.py")
        return {"status": "ok", "version": version}

    def routes(self):
        return {
            "GET /ready": lambda *_: self.ready(),
            "GET /products/<id>/also": lambda path, *_: self.also(path["id"]),
            "POST /bought": lambda _, __, body: self.bought((body or {}).get("products")),
        }


if __name__ == "__main__":
    pykit.main("recommend", Recommend(redis.Redis(address(os.environ))).routes())
