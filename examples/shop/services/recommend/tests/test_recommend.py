import unittest

import pykit
import recommend


class Store:
    """Counts as Redis does, for the commands that recommend uses."""

    def __init__(self):
        self.sets, self.broken = {}, None

    def call(self, command, key, *rest):
        if self.broken:
            raise self.broken
        scores = self.sets.setdefault(key, {})
        if command == "ZINCRBY":
            scores[rest[1]] = scores.get(rest[1], 0) + rest[0]
        if command == "ZREVRANGE":
            return [m for _, m in sorted(((s, m) for m, s in scores.items()), reverse=True)[: rest[1] + 1]]
        return None


class Recommending(unittest.TestCase):
    def setUp(self):
        self.store = Store()
        self.recommend = recommend.Recommend(self.store)

    def test_what_was_bought_together_most_often(self):
        for order in (["a", "b"], ["a", "b", "c"], ["a", "c", "b", "a"], ["d"]):
            self.recommend.bought(order)
        self.assertEqual(self.recommend.also("a")["also"], ["b", "c"])
        self.assertEqual(self.recommend.also("d")["also"], [])

    def test_what_is_no_order_is_refused(self):
        for products in (None, "abc", [1], ["x"] * 51):
            with self.assertRaises(pykit.Refusal) as refused:
                self.recommend.bought(products)
            self.assertEqual(refused.exception.status, 400)

    def test_without_its_store_it_says_so(self):
        self.store.broken = ConnectionRefusedError("refused")
        with self.assertRaises(pykit.Refusal) as refused:
            self.recommend.also("a")
        self.assertEqual(refused.exception.status, 503)


class Address(unittest.TestCase):
    def test_of_the_store(self):
        self.assertEqual(recommend.address({}), "redis://store:6379")
        self.assertEqual(recommend.address({"STORE_SERVICE_HOST": "10.96.0.9"}), "redis://10.96.0.9:6379")
        self.assertEqual(recommend.address({"REDIS_URL": "redis://x:1", "STORE_SERVICE_HOST": "y"}), "redis://x:1")
