"""Ports for the server's services, picked on loopback before it starts."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from schemas.errors import EmbedlakeError

HOST = "127.0.0.1"
SERVICES = ("s3", "master", "volume", "filer", "admin")
GRPC_DISTANCE = 10_000
PICKED_PORTS = range(10_240, 22_768)
"""Both of a pair lie below the range that outgoing connections take on Linux."""
TURN_PORT = PICKED_PORTS.start - 1
_TURN_SECONDS = 60.0


@contextmanager
def turn() -> Iterator[None]:
    """One server of this machine starts at a time: a port that was free when it was picked is so when it is bound.

    Whoever listens on `TURN_PORT` has the turn, and loses it with its process. Who waits for a minute goes on without.
    """
    deadline = time.monotonic() + _TURN_SECONDS
    with socket.socket() as holder:
        while time.monotonic() < deadline:
            try:
                holder.bind((HOST, TURN_PORT))
                holder.listen()
                break
            except OSError:
                time.sleep(0.05)
        yield


def free_ports(wanted: int | None) -> dict[str, int]:
    """A free port for each service, its gRPC twin 10,000 above: the server's workers assume that distance.

    Raises:
        EmbedlakeError: the wanted S3 port is taken.
    """
    ports: dict[str, int] = {}
    with ExitStack() as held:
        if wanted is not None:
            try:
                held.enter_context(_listener(wanted))
            except (OSError, OverflowError) as error:
                raise EmbedlakeError(f"S3 server: port {wanted} on {HOST} cannot be used: {error}") from error
        candidates = iter(random.sample(PICKED_PORTS, len(PICKED_PORTS)))
        while len(ports) < 2 * len(SERVICES):
            port = next(candidates)
            try:
                for number in (port, port + GRPC_DISTANCE):
                    held.enter_context(_listener(number))
            except OSError:
                continue
            name = SERVICES[len(ports) // 2]
            ports |= {name: port, f"{name}.grpc": port + GRPC_DISTANCE}
    return ports if wanted is None else ports | {"s3": wanted}


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except BaseException:
        listener.close()
        raise
    return listener
