"""What parties tell about themselves: Locations, Tariffs, Tokens and ClientInfo."""

from collections.abc import Mapping
from typing import Any

from config.ocpi import PartyID
from hub.simulator.objects.fields import (
    ENERGY_PRICE,
    PARKING_PRICE,
    START_FEE,
    VAT,
    Object,
    owner_fields,
    price,
    time_in,
)

# Locations


def connector(id: str = "1", **overrides: Any) -> Object:
    """Give a Connector: an 11 kW type 2 socket."""
    return {
        "id": id,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "max_electric_power": 11000,
        "tariff_ids": ["T1"],
        "last_updated": time_in(),
    } | overrides


def evse(party: str | PartyID, uid: str, **overrides: Any) -> Object:
    """Give an EVSE with one connector."""
    owner = owner_fields(party)
    return {
        "uid": uid,
        "evse_id": f"{owner['country_code']}*{owner['party_id']}*E{uid}".replace("-", "*"),
        "status": "AVAILABLE",
        "capabilities": [
            "CHARGING_PROFILE_CAPABLE",
            "REMOTE_START_STOP_CAPABLE",
            "RESERVABLE",
            "RFID_READER",
            "UNLOCK_CAPABLE",
        ],
        "connectors": [connector()],
        "floor_level": "-1",
        "physical_reference": uid[-1:],
        "parking_restrictions": ["EV_ONLY"],
        "last_updated": time_in(),
    } | overrides


def location(party: str | PartyID, id: str, **overrides: Any) -> Object:
    """Give a Location with two EVSEs, whose uids are `<id>-1` and `<id>-2`."""
    return {
        **owner_fields(party),
        "id": id,
        "publish": True,
        "name": "Gent Zuid",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "parking_type": "UNDERGROUND_GARAGE",
        "evses": [evse(party, f"{id}-1"), evse(party, f"{id}-2", status="CHARGING")],
        "directions": [{"language": "nl", "text": "Eerste verdieping, naast de liften"}],
        "operator": {"name": "Café Élan Charging", "website": "https://charging.example"},
        "facilities": ["CAFE", "TRAM_STOP"],
        "time_zone": "Europe/Brussels",
        "opening_times": {"twentyfourseven": True},
        "charging_when_closed": True,
        "energy_mix": {"is_green_energy": True, "energy_sources": [{"source": "WIND", "percentage": 100}]},
        "last_updated": time_in(),
    } | overrides


# Tariffs


def tariff(party: str | PartyID, id: str = "T1", **overrides: Any) -> Object:
    """Give a Tariff: a start fee, energy, and parking after charging."""

    def component(kind: str, amount: float, step_size: int) -> Object:
        return {"type": kind, "price": amount, "vat": VAT, "step_size": step_size}

    return {
        **owner_fields(party),
        "id": id,
        "currency": "EUR",
        "type": "REGULAR",
        "tariff_alt_text": [{"language": "en", "text": "0.50 to start, 0.35 per kWh, 3.00 per hour parked"}],
        "min_price": price(START_FEE),
        "elements": [
            {
                "price_components": [
                    component("FLAT", START_FEE, 1),
                    component("ENERGY", ENERGY_PRICE, 1),
                    component("PARKING_TIME", PARKING_PRICE, 60),
                ]
            }
        ],
        "last_updated": time_in(),
    } | overrides


# Tokens


def token(party: str | PartyID, uid: str, **overrides: Any) -> Object:
    """Give a Token: a driver's RFID card."""
    owner = owner_fields(party)
    return {
        **owner,
        "uid": uid,
        "type": "RFID",
        "contract_id": f"{owner['country_code']}-{owner['party_id']}-C{uid[-8:]:0>8}",
        "visual_number": f"{owner['country_code']}{owner['party_id']}-{uid[-8:]}",
        "issuer": "Rijden & Laden",
        "valid": True,
        "whitelist": "ALLOWED",
        "language": "nl",
        "last_updated": time_in(),
    } | overrides


def cdr_token(of: Mapping[str, Any]) -> Object:
    """Give the CdrToken of a Token: how sessions and CDRs name the driver's contract."""
    return {field: of[field] for field in ("country_code", "party_id", "uid", "type", "contract_id")}


def location_references(location_id: str, *evse_uids: str) -> Object:
    """Give LocationReferences, the optional body of a real-time authorization."""
    return {"location_id": location_id, "evse_uids": list(evse_uids)}


def authorization_info(of: Object, **overrides: Any) -> Object:
    """Give the AuthorizationInfo of a Token: allowed while it is valid."""
    return {
        "allowed": "ALLOWED" if of.get("valid", True) else "BLOCKED",
        "token": of,
        "info": {"language": "en", "text": "Have a good trip"},
    } | overrides


# HubClientInfo


def client_info(party: str | PartyID, role: str, status: str = "CONNECTED", **overrides: Any) -> Object:
    """Give the ClientInfo with which a hub tells of one party in one role."""
    return {**owner_fields(party), "role": role, "status": status, "last_updated": time_in()} | overrides
