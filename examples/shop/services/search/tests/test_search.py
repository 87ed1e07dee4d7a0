import json
import threading
import unittest
import urllib.error
import urllib.request

import pykit
import search

PRODUCTS = [
    {"id": "bowline", "name": "Bowline rope, 12 mm, 20 m"},
    {"id": "lantern", "name": "Brass anchor lantern"},
    {"id": "compass", "name": "Bulkhead compass"},
]


def ids(found):
    return [p["id"] for p in found]


class Finding(unittest.TestCase):
    def test_by_part_of_a_word(self):
        self.assertEqual(ids(search.find(PRODUCTS, "comp")), ["compass"])

    def test_with_a_slip_of_the_finger(self):
        self.assertEqual(ids(search.find(PRODUCTS, "latern")), ["lantern"])

    def test_every_word_must_fit(self):
        self.assertEqual(ids(search.find(PRODUCTS, "brass compass")), [])

    def test_nothing_finds_everything(self):
        self.assertEqual(ids(search.find(PRODUCTS, " ")), ["bowline", "lantern", "compass"])


class Serving(unittest.TestCase):
    def ask(self, products, path):
        server = pykit.server("search", search.routes(products), ("127.0.0.1", 0))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}{path}") as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def test_over_http(self):
        status, found = self.ask(lambda: PRODUCTS, "/search?q=rope")
        self.assertEqual((status, ids(found)), (200, ["bowline"]))

    def test_a_catalog_that_cannot_be_reached_is_a_502(self):
        def gone():
            return pykit.get("http://127.0.0.1:1", "/products")

        status, answer = self.ask(gone, "/search?q=rope")
        self.assertEqual(status, 502)
        self.assertIn("127.0.0.1:1", answer["error"])

    def test_no_such_page(self):
        self.assertEqual(self.ask(lambda: PRODUCTS, "/admin")[0], 404)


class Places(unittest.TestCase):
    def test_of_services(self):
        self.assertEqual(pykit.url({}, "gift-cards"), "http://gift-cards")
        self.assertEqual(pykit.url({"GIFT_CARDS_SERVICE_HOST": "fd00::7"}, "gift-cards"), "http://[fd00::7]:80")
        self.assertEqual(pykit.url({"GIFT_CARDS_URL": "http://x/", "GIFT_CARDS_SERVICE_HOST": "y"}, "gift-cards"), "http://x")
