"""Search finds products by words that need not be spelled right."""

import difflib
import os

import pykit

CLOSE = 0.75  # how alike a word must be to one that was looked for


def score(product, words):
    """How well a product fits, 0 for not at all: every word must be in its name, or nearly."""
    name = [w.strip(",.").lower() for w in product["name"].split()] + [product["id"]]
    total = 0.0
    for word in words:
        best = max(1.0 if word in n else difflib.SequenceMatcher(None, word, n).ratio() for n in name)
        if best < CLOSE:
            return 0.0
        total += best
    return total


def find(products, text):
    """The products that fit, best first; all when nothing is looked for."""
    words = text.lower().split()
    if not words:
        return products
    scored = [(score(p, words), p) for p in products]
    return [p for s, p in sorted(scored, key=lambda sp: (-sp[0], sp[1]["id"])) if s > 0]


def routes(products):
    """Routes are GET /search?q=words; products is a function that returns the catalog's list."""
    return {"GET /search": lambda _, query, __: find(products(), query.get("q", ""))}


if __name__ == "__main__":
    catalog = pykit.url(os.environ, "catalog")
    pykit.main("search", routes(lambda: pykit.get(catalog, "/products")))
