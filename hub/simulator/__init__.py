"""Simulated platforms: CPOs, eMSPs and others that speak OCPI 2.2.1 over real HTTP, as server and as client.

The demo, the scenario tests and the sandbox use them. A platform keeps every request exactly as it came over the wire,
answers as a real one would, and misbehaves on demand. `objects` builds what it sends.

Never: the hub's own tokens, headers and credentials exchange. They are written here once more, from the specification:
who shares the hub's code would share its mistakes.
"""

from hub.simulator.identity import hosted_modules
from hub.simulator.messages import Answer, Behaviour, Received, Reply, envelope
from hub.simulator.misbehaviour import Misbehaviour
from hub.simulator.platform import SimulatedPlatform

__all__ = [
    "Answer",
    "Behaviour",
    "Misbehaviour",
    "Received",
    "Reply",
    "SimulatedPlatform",
    "envelope",
    "hosted_modules",
]
