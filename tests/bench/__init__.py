"""What forwarding costs: the hub side by side with a bare proxy, in one interleaved run."""
