"""The demo: a hub, a CPO and eMSPs as real HTTP servers, one whole roaming charge, and what a hub shares.

The hub is a process of its own, run as an operator would run it; the members are invited with the code of the CLI's
commands. Every hop shown is a line of the hub's own log.
"""

from hub.demo.play import run_demo

__all__ = ["run_demo"]
