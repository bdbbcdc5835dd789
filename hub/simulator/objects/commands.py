"""What is asked of a CPO and gets its result later: commands and charging profiles."""

from typing import Any

from hub.simulator.objects.fields import Object, time_in

# Commands


def start_session(response_url: str, of: Object, location_id: str = "LOC1", **overrides: Any) -> Object:
    """Give the body of START_SESSION. `of` is the Token to charge with."""
    return {"response_url": response_url, "token": of, "location_id": location_id} | overrides


def stop_session(response_url: str, session_id: str, **overrides: Any) -> Object:
    """Give the body of STOP_SESSION."""
    return {"response_url": response_url, "session_id": session_id} | overrides


def reserve_now(
    response_url: str,
    of: Object,
    reservation_id: str,
    location_id: str = "LOC1",
    **overrides: Any,
) -> Object:
    """Give the body of RESERVE_NOW: for two hours from now."""
    return {
        "response_url": response_url,
        "token": of,
        "expiry_date": time_in(120),
        "reservation_id": reservation_id,
        "location_id": location_id,
    } | overrides


def cancel_reservation(response_url: str, reservation_id: str, **overrides: Any) -> Object:
    """Give the body of CANCEL_RESERVATION."""
    return {"response_url": response_url, "reservation_id": reservation_id} | overrides


def unlock_connector(response_url: str, location_id: str = "LOC1", **overrides: Any) -> Object:
    """Give the body of UNLOCK_CONNECTOR, by default for the first EVSE that `location` makes."""
    return {
        "response_url": response_url,
        "location_id": location_id,
        "evse_uid": f"{location_id}-1",
        "connector_id": "1",
    } | overrides


# Charging profiles


def charging_profile(**overrides: Any) -> Object:
    """Give a ChargingProfile: 16 A, then 8.1 A."""
    return {
        "start_date_time": time_in(),
        "duration": 3600,
        "charging_rate_unit": "A",
        "min_charging_rate": 6.0,
        "charging_profile_period": [{"start_period": 0, "limit": 16.0}, {"start_period": 1800, "limit": 8.1}],
    } | overrides


def set_charging_profile(response_url: str, **overrides: Any) -> Object:
    """Give the body of PUT ChargingProfile."""
    return {"charging_profile": charging_profile(), "response_url": response_url} | overrides


def active_charging_profile(profile: Object | None = None) -> Object:
    """Give an ActiveChargingProfile: what the charge point will do."""
    return {"start_date_time": time_in(), "charging_profile": profile or charging_profile()}
