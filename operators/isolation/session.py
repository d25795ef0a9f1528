"""One child's conversation: the parent names an asset, answers what the child asks, and passes segments on."""

from __future__ import annotations

import io
import pickle
from collections.abc import Generator, Iterator
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

Message = tuple[int, MediaType | Segment]


@dataclass(frozen=True, slots=True)
class Asset:
    """What `operators.decode.registry.decode` is called with."""

    file: BinaryIO
    name: str
    recipe: Recipe
    card: ModelCard
    counter: TextCounter
    open_ref: OpenReference


class Session:
    """A child and what it knows by now; `usable` between two assets that it has survived."""

    def __init__(self, process: ChildProcess, timeout_s: float) -> None:
        self.process = process
        self.served = 0
        self.usable = True
        self._timeout_s = timeout_s
        self._context: tuple[Recipe, ModelCard] | None = None
        self._counter: TextCounter | None = None
        self._death: ChildDiedError | None = None

    def run(self, asset: Asset) -> Generator[Message]:
        """The asset's media type and segments, each with a checksum of what it says.

        Raises:
            AssetError: as the decoder in the child raised it.
            ChildDiedError: there is no such child any more, or it must not be used again.
        """
        self.usable = False
        self.process.begin(self._timeout_s)
        try:
            self._begin(asset)
            yield from self._messages(asset)
        except GeneratorExit:
            self._stop()
            raise
        except BrokenFrameError as error:
            detail = f"the decoder's process sent {error}"
            raise ChildDiedError(ErrorCode.DECODER_CRASHED, detail) from error

    def _begin(self, asset: Asset) -> None:
        context = (asset.recipe, asset.card)
        if context != self._context or asset.counter is not self._counter:
            self.process.send(framed({"op": "context"}, [pickle.dumps(context)]))
            self._context, self._counter = context, asset.counter
        header = {"op": "decode", "name": asset.name}
        frame = self._whole(header, asset.file)
        if frame is not None:
            return self.process.send(frame)
        with descriptor(asset.file) as fd:
            return self.process.send(framed({**header, "fd": True}), fd)

    def _whole(self, header: dict[str, str], file: BinaryIO) -> list[Buffer] | None:
        """The file and its header as one frame; None where the child has to read it by a descriptor."""
        size = in_memory(file)
        if size is None:
            return None
        file.seek(0)
        if size < SMALL:
            return framed(header, [file.read()])
        found = self.process.inbox.room(size)
        if found is None:
            return None
        at, memory = found
        cast(io.BytesIO, file).readinto(memory)
        return shelved(header, at, size)

    def _messages(self, asset: Asset) -> Iterator[Message]:
        started = False
        while (frame := self._receive(started)).op != "done":
            if frame.op == "failed":
                raise self._failure(frame)
            if frame.op == "media":
                started = True
                yield frame.mark, media_of(frame)
            elif frame.op == "segment" and started:
                yield frame.mark, segment_of(frame)
            else:
                self._answer(frame, asset)
        self._survived(worn=bool(frame.header.get("worn")))

    def _receive(self, started: bool) -> Frame:
        """The next message; the media type out of the black box when the child died before it could send it."""
        if self._death is not None:
            raise self._death
        try:
            return self.process.receive()
        except ChildDiedError as died:
            found = None if started else self.process.last_words()
            if found is None:
                raise
            self._death = died
            return found

    def _failure(self, frame: Frame) -> AssetError | ChildDiedError:
        error = failure_of(frame)
        if error.code is ErrorCode.OUT_OF_MEMORY:
            return ChildDiedError(error.code, error.detail)
        self._survived(worn=False)
        return error

    def _survived(self, worn: bool) -> None:
        self.served += 1
        self.usable = not worn

    def _answer(self, frame: Frame, asset: Asset) -> None:
        if frame.op == "open":
            self._open(str(frame.header.get("reference")), asset)
        elif frame.op == "counter":
            self.process.send(framed({"op": "counter"}, [_pickled(asset.counter)]))
        elif frame.op == "count":
            spans = asset.counter.offsets(bytes(frame.body).decode("utf-8", "surrogatepass"))
            self.process.send(framed({"op": "spans"}, [np.ascontiguousarray(spans, np.int64).tobytes()]))
        else:
            raise BrokenFrameError(f"a message '{frame.op[:20]}' out of turn")

    def _open(self, reference: str, asset: Asset) -> None:
        try:
            file = asset.open_ref(reference)
        except AssetError as error:
            return self.process.send(failure_frame(error, "refused"))
        with file, descriptor(file) as fd:
            return self.process.send(framed({"op": "opened", "fd": True}), fd)

    def _stop(self) -> None:
        """Let the child leave its asset, or end it."""
        try:
            self.process.hurry(_STOP_S)
            self.process.send(framed({"op": "stop"}))
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
