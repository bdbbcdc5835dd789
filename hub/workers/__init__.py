"""`ocpi-hub serve`: a parent that holds the sockets, and the processes beside it that serve members.

`parent` starts the workers, replaces those that die, renews them one after the other at SIGHUP, and answers operators;
`worker` is one process that serves members; `channel` is what the two say to each other. No OCPI lives here.
"""
