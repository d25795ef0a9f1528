"""Start the server and stay until it is stopped."""

from __future__ import annotations

import errno
import html
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvicorn

from jobs.explore.guard import KEY, Guard
from jobs.explore.model import BackgroundModel
from jobs.explore.routes import application
from operators.storage import Storage
from pipelines.explore.exhibit import Exhibit
from pipelines.query import Searcher, check_model, model_of
from pipelines.reader import LakeReader
from schemas.errors import UsageError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::")  # noqa: S104 (a person may ask for them)
_GRACE_SECONDS = 2


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        UsageError: the port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # A browser that is faster than the server waits.
        bound.listen()
    except (OSError, OverflowError) as error:
        bound.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is taken: choose another with --port, or 0") from error
        raise UsageError(f"cannot listen on {host}, port {port}: {error}") from error
    return bound


def names_of(host: str) -> tuple[str, ...]:
    """The names under which the server may be asked: loopback has several, and of all addresses none is known."""
    return () if host in _ANY else _LOOPBACK if host in _LOOPBACK else (host.lower(),)


@contextmanager
def served(
    reader: LakeReader, corpus: str | None, model: str | None, host: str, port: int, allow: tuple[str, ...]
) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """A server that is bound but not running yet, and the address to open.

    Raises:
        UsageError: as `listen`.
        LakeError: as `LakeReader.corpus`.
        ModelError: the model cannot be found, or is not the one that made the vectors.
    """
    exhibit = Exhibit.of(reader, corpus, allow)
    spec = model_of(reader, exhibit.corpus, model)
    check_model(exhibit.space, spec, exhibit.corpus)
    with listen(host, port) as bound:
        taken, key = bound.getsockname()[1], secrets.token_urlsafe(18)
        background = BackgroundModel(partial(Searcher, reader, exhibit.corpus, spec))
        guard = Guard(application(exhibit, background), names_of(host), taken, key)
        config = uvicorn.Config(
            guard,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        background.start()
        shown = "127.0.0.1" if host in _ANY else f"[{host}]" if ":" in host else host
        yield uvicorn.Server(config), bound, f"http://{shown}:{taken}/?{KEY}={key}"


def explore(
    lake: str,
    corpus: str | None,
    model: str | None,
    host: str,
    port: int,
    open_page: bool,
    allow: tuple[str, ...],
    storage: Storage,
) -> None:
    """Serve until Ctrl-C, which raises KeyboardInterrupt when the server has ended."""
    reader = LakeReader.open(lake, storage)
    with served(reader, corpus, model, host, port, allow) as (server, bound, address):
        print(f"{reader.layout.lake} is at {address} until Ctrl-C", flush=True)
        with _opener(address) as page:
            if open_page and _has_screen():
                webbrowser.open(page)
            server.run(sockets=[bound])


@contextmanager
def _opener(address: str) -> Iterator[str]:
    """A page of this user's alone that leads to the address: what a browser is started with, all users see."""
    with tempfile.TemporaryDirectory(prefix="embedlake-explore-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(address)}">')
        yield page.as_uri()


def _has_screen() -> bool:
    """Whether a browser would open beside the terminal, and not in it."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
