"""What OCPI objects share: who owns them, when they changed, what they cost."""

from datetime import UTC, datetime, timedelta
from typing import Any

from config.ocpi import PartyID, format_time

Object = dict[str, Any]

ENERGY_PRICE = 0.35
START_FEE = 0.50
PARKING_PRICE = 3.00
VAT = 21.0
"""Of `tariff`, in EUR per kWh, once, per hour, and in percent. Sessions and CDRs are priced with it."""


def owner_fields(party: str | PartyID) -> Object:
    """Give the fields that name the owner."""
    named = PartyID.parse(party) if isinstance(party, str) else party
    return {"country_code": named.country_code, "party_id": named.party_id}


def time_in(minutes: float = 0) -> str:
    """Give the time so many minutes from now."""
    return format_time(datetime.now(UTC) + timedelta(minutes=minutes))


def price(excluding_vat: float) -> Object:
    """Give a Price, in at most four decimals."""
    return {"excl_vat": round(excluding_vat, 4), "incl_vat": round(excluding_vat * (1 + VAT / 100), 4)}
