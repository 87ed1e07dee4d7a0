import json
import tempfile
import unittest

import delivery
import pykit

TARIFF = {"carrier": "Post", "free_from_cents": 10000, "zones": {"be": {"cents": 495, "days": 1}, "pt": {"cents": 1295, "days": 4}}}


class Quotes(unittest.TestCase):
    def setUp(self):
        self.tariff = delivery.Tariff(json.dumps(TARIFF))

    def test_by_country(self):
        self.assertEqual(self.tariff.quote("PT", 9999), {"carrier": "Post", "country": "pt", "cents": 1295, "days": 4})

    def test_free_from_a_sum_on(self):
        self.assertEqual(self.tariff.quote("be", 10000)["cents"], 0)

    def test_an_unknown_country_is_named_with_those_that_are_known(self):
        with self.assertRaises(pykit.Refusal) as refused:
            self.tariff.quote("is", 1)
        self.assertEqual((refused.exception.status, str(refused.exception)), (404, "nothing is sent to is; known: be, pt"))


class Tariffs(unittest.TestCase):
    def test_come_from_the_file_that_is_named(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(TARIFF, file)
            file.flush()
            self.assertEqual(delivery.load({"TARIFF": file.name}).carrier, "Post")
        self.assertEqual(delivery.load({}).carrier, "by hand")

    def test_that_make_no_sense_are_refused(self):
        for zone in ({"cents": -1, "days": 1}, {"cents": 1, "days": 0}):
            with self.assertRaises(ValueError):
                delivery.Tariff(json.dumps({**TARIFF, "zones": {"be": zone}}))
