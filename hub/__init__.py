"""Do it: listen, send, store, watch, show.

Never: a decision that could be pure (that is `routing`).
"""
