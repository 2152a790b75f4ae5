"""The socket that a page is served on."""

from __future__ import annotations

import socket

from pathology.core.errors import ConfigError

BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError where that is not possible.

    It names its protocol: asyncio turns TCP's waiting (40 ms a tile) off for such sockets alone.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error.strerror or error}). "
            "Give another --port, or 0 for any that is free"
        ) from error
    return listener
