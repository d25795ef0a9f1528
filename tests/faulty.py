"""A faulty S3: a proxy on loopback in front of a real server that spoils a seeded share of the requests.

It forwards the client's own Host header, which the signature covers, so a client signs for the proxy and the server
behind it accepts. Whether a request is spoiled depends on the seed, the request and how often that came before, not on
the order in which concurrent requests arrive; the kinds of faults take turns, so that a few faults show all.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

SLOW_DOWN = "slow down"
INTERNAL = "internal error"
RESET = "reset"
DELAY = "delay"
TRUNCATED = "truncated"
LOST = "answer lost"
EXPIRED = "expired credentials"
KINDS = (SLOW_DOWN, INTERNAL, RESET, DELAY, TRUNCATED, LOST)
_DELAY_S = 0.3
_ERRORS = {
    EXPIRED: ("400 Bad Request", "ExpiredToken", "The provided token has expired."),
    SLOW_DOWN: ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    INTERNAL: ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
}


@dataclass(frozen=True, slots=True)
class Message:
    """An HTTP request or answer; `head` is everything before the body, with the blank line."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    def header(self, name: str) -> str:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.decode("latin-1").partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return ""


def everything(method: str, target: str) -> bool:
    """Spoil any request."""
    return True


class FaultyProxy:
    """A context manager; `url` is the endpoint and `injected` counts (method, fault) that were carried out."""

    def __init__(
        self,
        upstream: str,
        *,
        seed: int,
        rate: float = 0.1,
        kinds: tuple[str, ...] = KINDS,
        chosen: Callable[[str, str], bool] = everything,
        most_in_a_row: int = 3,
    ) -> None:
        place = urlsplit(upstream)
        self.upstream = (place.hostname or "", place.port or 80)
        self.seed, self.rate, self.kinds, self.chosen = seed, rate, kinds, chosen
        self.most_in_a_row = most_in_a_row
        self.injected: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.in_a_row: Counter[str] = Counter()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def stop() -> None:
            self._server.close()
            mine = asyncio.current_task()
            for task in asyncio.all_tasks():
                if task is not mine:
                    task.cancel()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fault(self, method: str, target: str) -> str | None:
        """What is done to this request, if anything."""
        below = target.lstrip("/").partition("/")[2]  # buckets of tests have names of chance
        request = f"{method} {below if 'uploadId' in target else below.partition('?')[0]}"
        self.seen[request] += 1
        dice = random.Random(f"{self.seed} {request} {self.seen[request]}")
        spoiled = self.in_a_row[request] < self.most_in_a_row and self.chosen(method, target)
        if not spoiled or dice.random() >= self.rate:
            self.in_a_row[request] = 0
            return None
        self.in_a_row[request] += 1
        return self.kinds[sum(self.injected.values()) % len(self.kinds)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader, writer)) is not None:
                if not await self._answer(request, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is still of use."""
        method, target, _ = request.first_line.split(" ", 2)
        fault = self.fault(method, target)
        if fault is not None:
            self.injected[method, fault] += 1
        if fault in _ERRORS:
            writer.write(_error(*_ERRORS[fault], bodiless=method == "HEAD"))
            await writer.drain()
            return True
        if fault == RESET:
            return _reset(writer)
        if fault == DELAY:
            await asyncio.sleep(_DELAY_S)
        answer = await self._forwarded(request, bodiless=method == "HEAD")
        if fault == LOST or (fault == TRUNCATED and not answer.body):
            return _reset(writer)
        whole = answer.head + answer.body
        writer.write(whole if fault != TRUNCATED else answer.head + answer.body[: len(answer.body) // 2])
        await writer.drain()
        return fault != TRUNCATED

    async def _forwarded(self, request: Message, *, bodiless: bool) -> Message:
        reader, writer = await asyncio.open_connection(*self.upstream)
        try:
            writer.write(request.head + request.body)
            await writer.drain()
            answer = await _read(reader, None, bodiless=bodiless)
        finally:
            writer.close()
        if answer is None:
            raise ConnectionResetError
        return answer


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, *, bodiless: bool = False
) -> Message | None:
    """The next message, None at the end of the connection; `writer` is told to go on sending when it asks."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    message = Message(head, b"")
    if message.first_line.startswith("HTTP/1.1 100"):
        return await _read(reader, writer, bodiless=bodiless)
    if writer is not None and message.header("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        head = b"\r\n".join(lines)
    if bodiless:
        return Message(head, b"")
    if message.header("transfer-encoding").lower() == "chunked":
        return Message(head, await _chunks(reader))
    length = int(message.header("content-length") or 0)
    return Message(head, await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body as it is on the wire."""
    raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line + await reader.readexactly(size)
        raw += await reader.readuntil(b"\r\n")
        if not size:
            return raw


def _error(status: str, code: str, message: str, *, bodiless: bool) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    return head if bodiless else head + body


def _reset(writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return False
