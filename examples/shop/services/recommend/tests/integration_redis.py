"""Against a real Redis, which must be at REDIS_URL and empty."""

import os
import unittest

import migrate
import pykit
import recommend
import redis


class WithRedis(unittest.TestCase):
    def setUp(self):
        self.store = redis.Redis(recommend.address(os.environ))
        self.store.call("FLUSHALL")

    def test_the_protocol(self):
        self.assertEqual(self.store.call("SET", "k", "a b\r\nc"), "OK")
        self.assertEqual(self.store.call("GET", "k"), "a b\r\nc")
        self.assertIsNone(self.store.call("GET", "none"))
        with self.assertRaises(redis.Error):
            self.store.call("INCR", "k")
        self.assertEqual(self.store.call("INCR", "n"), 1)  # and the connection goes on

    def test_from_an_empty_store_to_a_recommendation(self):
        service = recommend.Recommend(self.store)
        with self.assertRaises(pykit.Refusal):
            service.ready()
        self.assertEqual(migrate.migrate(self.store), (0, 2))
        self.assertEqual(service.ready()["version"], 2)
        self.assertEqual(migrate.migrate(self.store), (2, 2))
        for _ in range(2):
            service.bought(["lantern", "winch"])
        self.assertEqual(service.also("lantern")["also"][0], "winch")
        self.assertEqual(sorted(service.also("lantern")["also"][1:]), ["compass", "flag"])


if __name__ == "__main__":
    unittest.main()
