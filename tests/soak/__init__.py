"""The soak: many simulated platforms and two hubs on one database, disturbed for minutes; then everything is compared.

`model` is what the owners' objects are, `cast` who takes part and who may see what, `member` one platform, `arrivals`
what came where, `hubs` the two processes, `events` what happens, `soak` the whole from beginning to end, `checks` what
must be so then, `report` the tables.
"""
