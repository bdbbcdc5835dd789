"""What the hub and systemd say to each other: sockets handed over at the start, and how it is going (sd_notify)."""

import os
import socket
import time

_FIRST = 3
"""The first of the descriptors that are handed over (sd_listen_fds)."""


class SocketRefused(Exception):
    """What systemd hands over is not the one listening TCP socket that the hub takes."""


def take_socket() -> socket.socket | None:
    """Give the listening socket that systemd has opened for this process; None without one. Raises SocketRefused."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or count == "0":
        return None
    if count != "1":
        raise SocketRefused(f"{count} sockets are handed over, and the hub takes one: leave one ListenStream.")
    try:
        taken = socket.socket(fileno=_FIRST)
    except OSError as exc:
        raise SocketRefused(f"What is handed over as descriptor {_FIRST} is no socket: {exc.strerror}.") from exc
    is_tcp = taken.family in (socket.AF_INET, socket.AF_INET6) and taken.type == socket.SOCK_STREAM
    if not is_tcp or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise SocketRefused("The socket handed over is no listening TCP socket: let ListenStream name a port.")
    taken.set_inheritable(False)
    taken.setblocking(False)
    return taken


def notify(state: str) -> None:
    """Tell systemd how it is going, if it asked to be told: READY, RELOADING or STOPPING."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    message = f"{state}=1"
    if state == "RELOADING":
        message += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(message.encode())
        except OSError:
            return  # nobody listens any more; the hub does not depend on it
