"""The fast lane: serves the plain, common case of direct forwarding itself, and hands everything else to aiohttp.

`plain` reads what is plainly well-formed and nothing else; `plans` asks routing/ once for whom such a request is, and
remembers it for as long as the routing table stays; `front` is the connection; `lane` keeps the connections. Nothing
is decided here: what is not served comes to the ordinary road with the bytes it arrived in, before anything was done.
"""

from hub.fast_lane.lane import FastLane

__all__ = ["FastLane"]
