"""Text from a corpus, made safe for a terminal."""

from __future__ import annotations

import re

_BREAK = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(value: object) -> str:
    """The value as one line without control characters: no escape sequence, no change of direction."""
    return _UNSAFE.sub("", _BREAK.sub(" ", str(value)))
