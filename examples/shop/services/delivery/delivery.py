"""Delivery says what it costs to send a parcel, and how long it takes."""

import json
import os

import pykit


class Tariff:
    """What a carrier asks, from the configuration: {"carrier", "free_from_cents", "zones": {country: {cents, days}}}."""

    def __init__(self, text):
        read = json.loads(text)
        self.carrier, self.free_from, self.zones = read["carrier"], int(read["free_from_cents"]), read["zones"]
        if not self.zones:
            raise ValueError("a tariff needs a zone at least")
        for country, zone in self.zones.items():
            if zone["cents"] < 0 or zone["days"] < 1:
                raise ValueError(f"zone {country}: want cents of 0 or more and a day at least, got {zone}")

    def quote(self, country, total):
        """What it costs to send goods of so many cents to a country."""
        zone = self.zones.get(country.lower())
        if zone is None:
            raise pykit.Refusal(404, f"nothing is sent to {country}; known: {', '.join(sorted(self.zones))}")
        cents = 0 if total >= self.free_from else zone["cents"]
        return {"carrier": self.carrier, "country": country.lower(), "cents": cents, "days": zone["days"]}


def routes(tariff):
    """Routes are GET /quotes/<country>?total=cents."""
    return {"GET /quotes/<country>": lambda path, query, _: tariff.quote(path["country"], int(query.get("total", "0")))}


DEFAULT = '{"carrier": "by hand", "free_from_cents": 10000, "zones": {"be": {"cents": 495, "days": 2}}}'


def load(env):
    """The tariff in the file that TARIFF names; without one, the parcel is carried by hand."""
    if not env.get("TARIFF"):
        return Tariff(DEFAULT)
    with open(env["TARIFF"], encoding="utf-8") as file:
        return Tariff(file.read())


if __name__ == "__main__":
    pykit.main("delivery", routes(load(os.environ)))
