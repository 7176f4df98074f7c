"""Refuses every connection but to this machine itself.

Python imports a module of this name by itself when it starts. With this folder on PYTHONPATH, a
test run and every kernel and process that it starts find no network: a lesson that downloads
something fails there, as it would in a classroom without one. Kernels talk over the loopback
address, which stays open.
"""

import socket
from typing import Any

LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None, socket.gethostname()}

_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex
_getaddrinfo = socket.getaddrinfo


def _refuse_remote(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in LOCAL and not str(name).startswith("127."):
        raise OSError(f"the network is off, and something asks for {name!r}: lessons run offline")


def _is_remote_kind(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def connect(self: socket.socket, address: Any) -> None:
    """Connect to this machine only."""
    if _is_remote_kind(self):
        _refuse_remote(address[0])
    _connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    """Connect to this machine only."""
    if _is_remote_kind(self):
        _refuse_remote(address[0])
    return _connect_ex(self, address)


def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    """Look up this machine only."""
    _refuse_remote(host)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = connect  # type: ignore[method-assign, assignment]
socket.socket.connect_ex = connect_ex  # type: ignore[method-assign, assignment]
socket.getaddrinfo = getaddrinfo
