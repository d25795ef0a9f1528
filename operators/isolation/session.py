"""One child's conversation: the parent names an asset, answers what the child asks, and passes segments on."""

from __future__ import annotations

import io
import pickle
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from operators.decode.asset import OpenReference
from operators.decode.sniff import MediaType
from operators.isolation.files import descriptor, in_memory
from operators.isolation.process import ChildDiedError, ChildProcess
from operators.isolation.shelf import Buffer
from operators.isolation.wire import (
    SMALL,
    BrokenFrameError,
    Frame,
    failure_frame,
    failure_of,
    framed,
    media_of,
    segment_of,
    shelved,
)
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.card import ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

_STOP_S = 2.0
"""How long a child may take to notice that nobody wants the rest of its asset."""

AHEAD = 16
AHEAD_BYTES = 4 << 20
"""Assets that a child may have beyond the one at hand, and bytes of them."""
_INLINE = 1 << 12
"""Bytes of one of those that go with its header: all of them must fit the socket, or both sides might wait to send."""

Message = tuple[int, MediaType | Segment]


@dataclass(frozen=True, slots=True)
class Asset:
    """What `operators.decode.registry.decode` is called with, but for what opens references."""

    file: BinaryIO
    name: str
    recipe: Recipe
    card: ModelCard
    counter: TextCounter

    def size(self) -> int | None:
        """Of a file in memory; None of any other, and of one that nobody will ask for."""
        return None if self.file.closed else in_memory(self.file)


class Session:
    """A child and what it knows by now; `usable` between two assets that it has survived.

    Small assets may be sent to it before they are asked for: they are `ahead`, and their results come in their order.
    """

    def __init__(self, process: ChildProcess, timeout_s: float) -> None:
        self.process = process
        self.served = 0
        self.usable = True
        self.ahead: deque[Asset] = deque()
        self._timeout_s = timeout_s
        self._context: tuple[Recipe, ModelCard] | None = None
        self._counter: TextCounter | None = None
        self._begun = 0
        self._told = False

    def run(self, asset: Asset, open_ref: OpenReference, then: deque[Asset]) -> Generator[Message]:
        """The asset's media type and segments, each with a checksum of what it says.

        It is the first of those `ahead`, or there are none. Of those that are `then` asked for, some are taken.

        Raises:
            AssetError: as the decoder in the child raised it.
            ChildDiedError: there is no such child any more, or it must not be used again.
        """
        self.usable = False
        self._begun += 1
        self.process.hurry(self._timeout_s)
        try:
            if self.ahead:
                self.ahead.popleft()
            else:
                self._send(asset)
            self._send_ahead(then)
            yield from self._messages(asset, open_ref)
        except GeneratorExit:
            self._stop()
            raise
        except BrokenFrameError as error:
            self.process.kill()
            detail = f"the decoder's process sent {error}"
            raise ChildDiedError(ErrorCode.DECODER_CRASHED, detail) from error

    def blames(self) -> bool:
        """Whether it was at the last asset of `run` that the child ended, or said that it must."""
        return self._told or self.process.begun == self._begun

    def forget(self) -> None:
        """Let the child leave what it has ahead, or end it."""
        while self.ahead and self.usable:
            self.ahead.popleft()
            self.usable = False
            self._begun += 1
            self._stop()

    def _send(self, asset: Asset) -> None:
        header = {"op": "decode", "name": asset.name}
        frame = self._whole(header, asset.file, SMALL)
        if frame is not None:
            return self.process.send([*self._news(asset), *frame])
        with descriptor(asset.file) as fd:
            self.process.send(self._news(asset))
            return self.process.send(framed({**header, "fd": True}), fd)

    def _send_ahead(self, then: deque[Asset]) -> None:
        """Half of what may be ahead at a time, with one system call."""
        if len(self.ahead) > AHEAD // 2:
            return
        buffers: list[Buffer] = []
        held = sum(asset.size() or 0 for asset in self.ahead)
        while then and len(self.ahead) < AHEAD and self._knows(then[0]) and len(then[0].name) < _INLINE:
            asset = then[0]
            size = asset.size()
            if size is None or (held := held + size) > AHEAD_BYTES:
                break
            frame = self._whole({"op": "decode", "name": asset.name}, asset.file, _INLINE)
            if frame is None:
                break
            buffers += frame
            self.ahead.append(then.popleft())
        if buffers:
            # A child that has died has perhaps said what is wanted before.
            with suppress(ChildDiedError):
                self.process.send(buffers)

    def _knows(self, asset: Asset) -> bool:
        return (asset.recipe, asset.card) == self._context and asset.counter is self._counter

    def _news(self, asset: Asset) -> list[Buffer]:
        if self._knows(asset):
            return []
        self._context, self._counter = (asset.recipe, asset.card), asset.counter
        return framed({"op": "context"}, [pickle.dumps(self._context)])

    def _whole(self, header: dict[str, str], file: BinaryIO, inline: int) -> list[Buffer] | None:
        """The file and its header as one frame; None where the child has to read it by a descriptor."""
        size = in_memory(file)
        if size is None:
            return None
        file.seek(0)
        if size < inline:
            return framed(header, [file.read()])
        found = self.process.inbox.room(size)
        if found is None:
            return None
        at, memory = found
        cast(io.BytesIO, file).readinto(memory)
        return shelved(header, at, size)

    def _messages(self, asset: Asset, open_ref: OpenReference) -> Iterator[Message]:
        started = False
        while (frame := self.process.receive()).op != "done":
            if frame.op == "failed":
                raise self._failure(frame)
            if frame.op == "media":
                started = True
                yield frame.mark, media_of(frame)
            elif frame.op == "segment" and started:
                yield frame.mark, segment_of(frame)
            else:
                self._answer(frame, asset, open_ref)
        self._survived(worn=bool(frame.header.get("worn")))

    def _failure(self, frame: Frame) -> AssetError | ChildDiedError:
        error = failure_of(frame)
        if error.code is ErrorCode.OUT_OF_MEMORY:
            self._told = True
            return ChildDiedError(error.code, error.detail)
        self._survived(worn=False)
        return error

    def _survived(self, worn: bool) -> None:
        self.served += 1
        self.usable = not worn

    def _answer(self, frame: Frame, asset: Asset, open_ref: OpenReference) -> None:
        if frame.op == "open":
            self._open(str(frame.header.get("reference")), open_ref)
        elif frame.op == "counter":
            self.process.send(framed({"op": "counter"}, [_pickled(asset.counter)]))
        elif frame.op == "count":
            spans = asset.counter.offsets(bytes(frame.body).decode("utf-8", "surrogatepass"))
            self.process.send(framed({"op": "spans"}, [np.ascontiguousarray(spans, np.int64).tobytes()]))
        else:
            raise BrokenFrameError(f"a message '{frame.op[:20]}' out of turn")

    def _open(self, reference: str, open_ref: OpenReference) -> None:
        try:
            file = open_ref(reference)
        except AssetError as error:
            return self.process.send(failure_frame(error, "refused"))
        with file, descriptor(file) as fd:
            return self.process.send(framed({"op": "opened", "fd": True}), fd)

    def _stop(self) -> None:
        """Let the child leave its asset, or end it."""
        try:
            self.process.hurry(_STOP_S)
            self.process.send(framed({"op": "stop", "asset": self._begun}))
            while (frame := self.process.receive()).op not in ("done", "failed"):
                pass
        except ChildDiedError:
            return
        self._survived(worn=bool(frame.header.get("worn")))


def _pickled(counter: TextCounter) -> bytes:
    """Nothing where the counter does not travel: then it is asked here."""
    try:
        return pickle.dumps(counter)
    except Exception:
        return b""
