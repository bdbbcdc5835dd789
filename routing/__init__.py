"""Where does this message go, and what changes on the way?

Never: HTTP, SQL, a clock or randomness. Pure functions on bytes and values.
"""
