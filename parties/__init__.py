"""Who is connected: platforms, their parties, credentials, endpoints and status.

Never: an HTTP server, or a decision about a message on its way.
"""
