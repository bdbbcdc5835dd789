"""What comes of charging: Sessions and CDRs."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from config.ocpi import PartyID
from hub.simulator.objects.fields import ENERGY_PRICE, PARKING_PRICE, START_FEE, Object, owner_fields, price, time_in
from hub.simulator.objects.published import cdr_token, location, tariff, token


def charging_period(minutes_ago: float, tariff_id: str = "T1", **volumes: float) -> Object:
    """Give a ChargingPeriod: `charging_period(30, ENERGY=4.2, TIME=0.5)`."""
    return {
        "start_date_time": time_in(-minutes_ago),
        "dimensions": [{"type": kind, "volume": volume} for kind, volume in volumes.items()],
        "tariff_id": tariff_id,
    }


def session(party: str | PartyID, id: str, of: Mapping[str, Any] | None = None, **overrides: Any) -> Object:
    """Give a Session of a CPO that started half an hour ago. `of` is the driver's Token, one of DE-TNM by default."""
    return {
        **owner_fields(party),
        "id": id,
        "start_date_time": time_in(-30),
        "kwh": 4.2,
        "cdr_token": cdr_token(of or token("DE-TNM", "012345678")),
        "auth_method": "COMMAND",
        "authorization_reference": f"AR-{id}"[:36],
        "location_id": "LOC1",
        "evse_uid": "LOC1-1",
        "connector_id": "1",
        "meter_id": "ES-2291",
        "currency": "EUR",
        "charging_periods": [charging_period(30, ENERGY=4.2, TIME=0.5)],
        "total_cost": price(START_FEE + 4.2 * ENERGY_PRICE),
        "status": "ACTIVE",
        "last_updated": time_in(),
    } | overrides


def cdr_location(of: Mapping[str, Any], evse_index: int = 0) -> Object:
    """Give the CdrLocation of a Location: the one connector that was used."""
    used = of["evses"][evse_index]
    plug = used["connectors"][0]
    return {
        **{field: of[field] for field in ("id", "name", "address", "city", "postal_code", "country", "coordinates")},
        "evse_uid": used["uid"],
        "evse_id": used["evse_id"],
        "connector_id": plug["id"],
        "connector_standard": plug["standard"],
        "connector_format": plug["format"],
        "connector_power_type": plug["power_type"],
    }


def signed_data() -> Object:
    """Give SignedData as calibration law asks for it: begin and end of a transaction in OCMF."""

    def value(nature: str, reading: str, code: str) -> Object:
        plain = f'OCMF|{{"FV":"1.0","PG":"T12","RD":[{{"TX":"{code}","RV":{reading},"RI":"1-b:1.8.0","RU":"kWh"}}]}}'
        signed = f'{plain}|{{"SD":"304402203d{code}"}}'
        return {"nature": nature, "plain_data": plain, "signed_data": b64encode(signed.encode()).decode()}

    return {
        "encoding_method": "OCMF",
        "encoding_method_version": 1,
        "public_key": "3059301306072A8648CE3D020106082A8648CE3D030107034200044BEDD1",
        "signed_values": [value("Start", "1408.300", "B"), value("End", "1426.700", "E")],
        "url": "https://transparency.example/ocmf",
    }


def cdr(party: str | PartyID, id: str, of: Mapping[str, Any] | None = None, **overrides: Any) -> Object:
    """Give a CDR: 18.4 kWh in 75 minutes and 15 minutes parked. `of` is the driver's Token, as in `session`."""
    energy, parked = 18.4, 0.25
    return {
        **owner_fields(party),
        "id": id,
        "start_date_time": time_in(-90),
        "end_date_time": time_in(),
        "session_id": f"S{id}"[:36],
        "cdr_token": cdr_token(of or token("DE-TNM", "012345678")),
        "auth_method": "COMMAND",
        "authorization_reference": f"AR-{id}"[:36],
        "cdr_location": cdr_location(location(party, "LOC1")),
        "meter_id": "ES-2291",
        "currency": "EUR",
        "tariffs": [tariff(party)],
        "charging_periods": [
            charging_period(90, ENERGY=energy, TIME=1.25),
            charging_period(15, PARKING_TIME=parked),
        ],
        "signed_data": signed_data(),
        "total_cost": price(START_FEE + energy * ENERGY_PRICE + parked * PARKING_PRICE),
        "total_fixed_cost": price(START_FEE),
        "total_energy": energy,
        "total_energy_cost": price(energy * ENERGY_PRICE),
        "total_time": 1.5,
        "total_parking_time": parked,
        "total_parking_cost": price(parked * PARKING_PRICE),
        "last_updated": time_in(),
    } | overrides


def charging_preferences(**overrides: Any) -> Object:
    """Give ChargingPreferences of a driver who leaves in four hours."""
    return {"profile_type": "GREEN", "departure_time": time_in(240), "energy_need": 22.5} | overrides
