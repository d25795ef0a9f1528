"""Any asset to segments, decoded in a child that is replaced when an asset kills it; what needs none is read here."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from typing import BinaryIO, cast
from weakref import WeakKeyDictionary

from operators.decode.asset import Asset as Whole
from operators.decode.asset import OpenReference
from operators.decode.sniff import MediaType
from operators.isolation.here import Harmless, harmless
from operators.isolation.process import ChildDiedError, ChildProcess
from operators.isolation.session import Asset, Session
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.card import ModelCard
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

Decode = Callable[..., tuple[MediaType, Iterator[Segment]]]
REGISTRY = "operators.decode.registry:decode"
ENTRY = REGISTRY
"""What decodes in a child, as `module:function`."""


class Decoders:
    """The counterpart of `operators.decode.registry.decode` that no decoder can crash.

    What needs no child is read here (`operators.isolation.here`). A child is started when the first of the others
    comes, and serves one asset at a time; assets that are decoded at the same time have a child each, and one stays
    for the next asset.
    """

    def __init__(self, limits: DecodeConfig, entry: str = ENTRY) -> None:
        self._limits, self._entry = limits, entry
        self._idle: list[Session] = []
        self._next: deque[Asset] = deque()
        self._seen: WeakKeyDictionary[BinaryIO, Harmless | None] = WeakKeyDictionary()

    def expect(
        self, file: BinaryIO, name: str, recipe: Recipe, card: ModelCard, counter: TextCounter
    ) -> None:
        """Say that a file in memory will be decoded after those named before, all by this object.

        So a child gets several at once, and answers for several at once. Nothing else changes, and what then does
        not come, or comes in another order, is only decoded later.
        """
        if (found := self._needs_none(file, name, counter)) is None:
            self._next.append(Asset(file, name, recipe, card, counter))
        self._seen[file] = found

    def decode(
        self,
        file: BinaryIO,
        name: str,
        recipe: Recipe,
        card: ModelCard,
        counter: TextCounter,
        open_ref: OpenReference,
    ) -> tuple[MediaType, Iterator[Segment]]:
        """What a seekable file is, and its segments, decoded a little ahead of being asked for.

        Close the iterator when no more of it is wanted, or the child stays at its asset.

        Raises:
            AssetError: as `registry.decode`; and DECODER_CRASHED, DECODER_TIMEOUT, OUT_OF_MEMORY. A crash in a
                child that has served other assets counts only if it happens in a fresh one too.
            EmbedlakeError: no child can be started.
        """
        found = self._seen.pop(file) if file in self._seen else self._needs_none(file, name, counter)
        if found is not None:
            whole = Whole(file, name, found.media, recipe, card, counter, open_ref)
            return found.media, found.segments(whole)
        items = self._items(Asset(file, name, recipe, card, counter), open_ref)
        media = cast(MediaType, next(items))
        return media, cast(Iterator[Segment], items)

    def _needs_none(self, file: BinaryIO, name: str, counter: TextCounter) -> Harmless | None:
        # What another entry does with bytes is not known.
        return harmless(file, name, counter) if self._entry == REGISTRY else None

    def close(self) -> None:
        """End the children."""
        self._next.clear()
        while self._idle:
            self._idle.pop().process.kill()

    def _items(self, asset: Asset, open_ref: OpenReference) -> Iterator[MediaType | Segment]:
        """The media type, then the segments."""
        seen: list[int] = []
        for confirming in (False, True):
            session = self._fresh() if confirming else self._session(asset)
            used = session.served > 0
            try:
                with closing(session.run(asset, open_ref, deque() if confirming else self._next)) as messages:
                    for number, (mark, item) in enumerate(messages):
                        if number < len(seen):
                            self._check_same(mark, seen[number])
                            continue
                        seen.append(mark)
                        yield item
                return
            except ChildDiedError as died:
                if confirming or (session.blames() and self._settled(died, used)):
                    raise AssetError(died.code, died.detail) from died
            finally:
                self._keep(session)

    @staticmethod
    def _settled(died: ChildDiedError, used: bool) -> bool:
        """Whether the asset at hand is at fault: else an earlier one may have damaged the child's memory, or others
        have taken the machine's."""
        return died.code is ErrorCode.DECODER_TIMEOUT or not (used or died.from_outside)

    def _session(self, asset: Asset) -> Session:
        """One that has the asset already, or has none."""
        session = self._idle.pop() if self._idle else self._fresh()
        if session.ahead and session.ahead[0] != asset:
            session.forget()
        if not session.ahead:
            self._pass(asset)
        if session.usable:
            return session
        session.process.kill()
        return self._fresh()

    def _pass(self, asset: Asset) -> None:
        """What was to come before the asset does not come any more, and without it nothing does."""
        if asset not in self._next:
            self._next.clear()
        while self._next and self._next.popleft() != asset:
            pass

    def _fresh(self) -> Session:
        return Session(ChildProcess(self._limits, self._entry), self._limits.timeout_seconds)

    def _keep(self, session: Session) -> None:
        if session.usable and not self._idle:
            self._idle.append(session)
            return
        session.process.kill()
        self._next.extendleft(reversed(session.ahead))

    @staticmethod
    def _check_same(mark: int, before: int) -> None:
        """What a damaged child had sent before its crash is out by now: another process must tell the same."""
        if mark != before:
            raise AssetError(
                ErrorCode.DECODER_CRASHED, "decoded otherwise by the process after a crashed one"
            )


class Direct:
    """Decoding in this process, called alike."""

    def expect(self, *asset: object) -> None:
        """Nothing is done ahead."""

    @property
    def decode(self) -> Decode:
        """As `operators.decode.registry.decode`."""
        # Where decoders live in the child, this process need not load them.
        from operators.decode.registry import decode

        return decode


def decoders(limits: DecodeConfig) -> Decoders:
    """The calling thread's decoders; they live as long as its process does."""
    # A fork must not talk over its parent's sockets.
    return _decoders(os.getpid(), threading.get_ident(), limits, ENTRY)


def decoder(limits: DecodeConfig) -> Decoders | Direct:
    """What decodes under these limits: in a child, or in this process."""
    return decoders(limits) if limits.isolated else Direct()


@cache
def _decoders(pid: int, thread: int, limits: DecodeConfig, entry: str) -> Decoders:
    return Decoders(limits, entry)
