"""The tests. Hypothesis' limits on time do not apply: on a busy machine they would fail what is right."""

from hypothesis import HealthCheck, settings

settings.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hub")
