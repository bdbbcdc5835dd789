"""Keep one PostgreSQL running for as long as somebody uses it: which binaries, as whom, where, and until when.

Users (`hub.embedded_postgres`) and the guardian, a process of its own, meet at two lock files, and the kernel drops a
lock with its process, however that ends:

* `users.lock`: every user holds it shared. The guardian stops the server when it gets it exclusively.
* `start.lock`: the guardian holds it exclusively. A user who gets it finds no guardian and starts one with it.

The server is the guardian's child, so the guardian hears at once when it dies, and no reused pid deceives it. A server
that outlived its guardian is therefore stopped and started anew, not adopted: to its users both are one lost
connection.

Never: anything but the standard library and this package, because the guardian stays in memory as long as the hub does.
No SQL.
"""
