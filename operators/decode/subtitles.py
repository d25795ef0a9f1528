"""Subtitles: what is said as chunks of text, each with the time that it is said in."""

from __future__ import annotations

import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from operators.decode.asset import Asset
from operators.decode.chunk import chunk
from operators.decode.readable import WHOLE_BYTES
from operators.decode.text import encoding
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_CUE = re.compile(
    rf"^[ \t]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}[^\n]*\n((?:[^\n]*\S[^\n]*(?:\n|\Z))*)", re.MULTILINE
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d+:[\d:.]+>|\{\\[^{}]{0,200}\}")


@dataclass(frozen=True, slots=True)
class _Cue:
    at: int
    start_ms: int
    end_ms: int


def decode_subtitles(asset: Asset) -> Iterator[Segment]:
    """Chunks of an SRT or WebVTT file; times are those of the first to the last cue that a chunk has words of.

    Characters are counted in the text of all cues, a line each. A line that the next cue repeats, as rolling
    captions do, is in it once.

    Raises:
        AssetError: EMPTY without a cue that says something, LIMIT over `WHOLE_BYTES`.
    """
    codec = encoding(asset.file)
    source = asset.read(WHOLE_BYTES).decode(codec, "replace").replace("\r\n", "\n").replace("\r", "\n")
    text, cues = _said(source)
    places = [cue.at for cue in cues]
    empty = True
    for piece in chunk([text], asset.counter, asset.text_budget, asset.recipe.text.overlap_tokens):
        empty = False
        shown = cues[max(0, bisect_right(places, piece.start) - 1) : bisect_left(places, piece.end)]
        times = (min(cue.start_ms for cue in shown), max(cue.end_ms for cue in shown))
        locator = Locator(start_ms=times[0], end_ms=times[1], char_start=piece.start, char_end=piece.end)
        yield Segment(Modality.TEXT, (Part(PartKind.TEXT, piece.text),), locator, piece.text)
    if empty:
        raise AssetError(ErrorCode.EMPTY, f"{asset.media.mime} without a cue that says something")


def _said(source: str) -> tuple[str, list[_Cue]]:
    lines: list[str] = []
    cues: list[_Cue] = []
    at = 0
    for found in _CUE.finditer(source):
        fields = found.groups()
        for line in html.unescape(_TAG.sub("", fields[8])).split("\n"):
            said = " ".join(line.split())
            if said and not (lines and lines[-1] == said):
                cues.append(_Cue(at, _ms(fields[:4]), _ms(fields[4:8])))
                lines.append(said)
                at += len(said) + 1
    return "\n".join(lines), cues


def _ms(clock: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, fraction = (part or "0" for part in clock)
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))
