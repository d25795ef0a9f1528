"""An HTTP server whose answers a test writes: for what a real S3 server cannot be made to say on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from operators.storage import Storage
from schemas.config import StorageConfig


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str = "refused") -> Answer:
    """S3's way to say no."""
    return Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


@dataclass(frozen=True, slots=True)
class Canned:
    url: str
    asked: list[tuple[str, str]]

    def storage(self, **config: object) -> Storage:
        return Storage(StorageConfig(endpoint_url=self.url, region="us-east-1", **config))  # type: ignore[arg-type]


@contextmanager
def canned(answer: Callable[[str, str], Answer]) -> Iterator[Canned]:
    """A server that answers (method, path with query); `asked` holds what was asked, in order."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path))
            found = answer(self.command, self.path)
            self.send_response(found.status)
            for name, value in {"Content-Length": str(len(found.body)), **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_GET = do_PUT = do_HEAD = _serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Canned(f"http://127.0.0.1:{server.server_port}", asked)
        server.shutdown()
