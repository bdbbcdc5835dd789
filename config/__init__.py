"""What is known before the first request? Settings, and OCPI's own words and tables.

Never: I/O beyond reading settings, or anything about a particular party.
"""
