"""The mirror: the hub's copy of client owned objects, as the network's owners shared them.

It takes in broadcasts (together with the broadcast's own row), addressed pushes (write-behind, off the road) and
pulled lists, and answers who owns what, what an object is now, and the pages of GET all.
"""

from hub.mirror.forms import BroadcastDraft, BroadcastRow, Current, Known
from hub.mirror.mirror import Mirror

__all__ = ["BroadcastDraft", "BroadcastRow", "Current", "Known", "Mirror"]
