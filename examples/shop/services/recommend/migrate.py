"""Brings what is in Redis to the version that this recommend wants. It may run again, and suits the version before."""

import os
import time

import recommend
import redis

# What customers of the old shop bought together, so that the first ones here see something.
SEED = [("bowline", "fender"), ("lantern", "compass"), ("lantern", "flag")]
TRIES = 30


def migrate(store):
    """Returns the versions before and after."""
    before = int(store.call("GET", "version") or 0)
    if before < 1:
        for a, b in SEED:
            store.call("ZINCRBY", f"also:{a}", 1, b)
            store.call("ZINCRBY", f"also:{b}", 1, a)
    # Version 2 forgets the counts of products without a name, which version 1 took.
    if before < 2:
        store.call("DEL", "also:")
    if before < recommend.VERSION:
        store.call("SET", "version", recommend.VERSION)
    return before, max(before, recommend.VERSION)


def main():
    where = recommend.address(os.environ)
    for left in reversed(range(TRIES)):
        try:
            before, after = migrate(redis.Redis(where))
        except OSError as error:
            if not left:
                raise SystemExit(f"{where}: {error}") from error
            time.sleep(1)  # a new address takes a moment to be known on every node
        else:
            print(f"the store at {where} had version {before} and has {after}")
            return


if __name__ == "__main__":
    main()
