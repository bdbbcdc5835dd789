"""The whole hub as its partners see it: real sockets, several simulated platforms, one file per scenario."""
