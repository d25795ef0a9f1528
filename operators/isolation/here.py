"""What needs no child: the two common kinds of files that no parser written in C or C++ reads.

A child is for codecs, containers, PDF, markup and compression, whose libraries trust the bytes that they are given.
Here are read, by code that the interpreter or Rust bounds:

- plain text in UTF-8: the interpreter's own decoder, regular expressions that are linear in the text, and the tokenizer
  in Rust through which each text goes in the calling process in any case, when the model's input is prepared. What
  might be another kind of text (a first character of `{`, `[` or `<`, a name or a header of one) goes to the child.
- PCM in a WAV: `operators.decode.wav` takes a view of the samples once all that the header says agrees with the file's
  size; mixing and resampling are arithmetic on numbers, whatever these are.

Nobody watches the clock over them: their size bounds their time and memory.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from operators.compressed import compression
from operators.decode import registry
from operators.decode.asset import Asset
from operators.decode.sniff import HEAD_BYTES, MediaType, sniff
from operators.decode.sound import windows
from operators.decode.wav import Wav, read_wav
from operators.isolation.files import in_memory
from operators.model.contract import TextCounter
from operators.model.tokens import FastTokenizer
from operators.parts import Segment
from schemas.card import Modality
from schemas.errors import AssetError

TEXT_BYTES = 1 << 18
"""The worst text of this size takes less than a CPU second."""
SOUND_US = 900_000_000
"""A quarter of an hour takes less than a CPU second, at any rate that a WAV may have."""

_PLAIN = MediaType("text/plain", Modality.TEXT)
_WAVE = MediaType("audio/wav", Modality.AUDIO)
_START_BYTES = 12
_WAVE_HEAD = re.compile(rb"RIFF.{4}WAVE", re.DOTALL)
_NO_FIRST = frozenset(range(0x80, 0xC2)) | frozenset(range(0xF5, 0x100))
"""Bytes that no UTF-8 starts with, and pictures do."""
_MARKUP = b"{[<"
_MARKED = (codecs.BOM_UTF8, b"PK")


@dataclass(frozen=True, slots=True)
class Harmless:
    """What a file is that needs no child, and of a WAV where its sound lies."""

    media: MediaType
    wav: Wav | None = None

    def segments(self, asset: Asset) -> Iterator[Segment]:
        """As `operators.decode.registry.segments`."""
        return registry.segments(asset, None if self.wav is None else self._sound)

    def _sound(self, asset: Asset) -> Iterator[Segment]:
        wav = cast(Wav, self.wav)
        return windows(
            wav.samples(asset.file, asset.card.sample_rate), wav.length_us, asset.recipe, asset.card
        )


def harmless(file: BinaryIO, name: str, counter: TextCounter) -> Harmless | None:
    """What the file is, if it needs no child; None for all others, and for what is odd in any way."""
    size = in_memory(file)
    if not size:
        return None
    file.seek(0)
    head = file.read(_START_BYTES)
    if _WAVE_HEAD.match(head):
        wav = read_wav(file)
        return Harmless(_WAVE, wav) if wav is not None and wav.length_us <= SOUND_US else None
    if size > TEXT_BYTES or b"\0" in head or head[0] in _NO_FIRST or not isinstance(counter, FastTokenizer):
        return None
    return Harmless(_PLAIN) if _is_plain(head + file.read(), name) else None


def _is_plain(data: bytes, name: str) -> bool:
    # An empty start, of spaces alone, is in every string.
    if data.lstrip()[:1] in _MARKUP or data.startswith(_MARKED) or compression(data) is not None:
        return False
    try:
        data.decode()
        return sniff(data[:HEAD_BYTES], name) == _PLAIN
    except (UnicodeDecodeError, AssetError):
        return False
