"""OCPI 2.2.1 objects as real platforms send them.

Every builder gives a valid object with plausible content and takes overrides by field name:
`location("BE-BEC", "LOC1", publish=False)`. Parties are written `BE-BEC`. No HTTP in here.
"""

from hub.simulator.objects.charges import (
    cdr,
    cdr_location,
    charging_period,
    charging_preferences,
    session,
    signed_data,
)
from hub.simulator.objects.commands import (
    active_charging_profile,
    cancel_reservation,
    charging_profile,
    reserve_now,
    set_charging_profile,
    start_session,
    stop_session,
    unlock_connector,
)
from hub.simulator.objects.fields import Object, price
from hub.simulator.objects.published import (
    authorization_info,
    cdr_token,
    client_info,
    connector,
    evse,
    location,
    location_references,
    tariff,
    token,
)

__all__ = [
    "Object",
    "active_charging_profile",
    "authorization_info",
    "cancel_reservation",
    "cdr",
    "cdr_location",
    "cdr_token",
    "charging_period",
    "charging_preferences",
    "charging_profile",
    "client_info",
    "connector",
    "evse",
    "location",
    "location_references",
    "price",
    "reserve_now",
    "session",
    "set_charging_profile",
    "signed_data",
    "start_session",
    "stop_session",
    "tariff",
    "token",
    "unlock_connector",
]
