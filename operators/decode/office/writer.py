"""The text of an office file while it is put together: blocks, headings, tables, pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable

from operators.decode.readable import Picture, Readable, Source
from operators.decode.sections import Heading
from schemas.errors import AssetError, ErrorCode

MOST_CHARS = 64 << 20

_FILE_NAME = re.compile(r"[^\n]*\.(?:png|jpe?g|gif|bmp|tiff?|webp|emf|wmf|svg)", re.IGNORECASE)
"""What programs put where a description belongs."""


class Writer:
    """Blocks with a blank line between them, rows of a table and items of a list on lines of their own."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._headings: list[Heading] = []
        self._pictures: list[Picture] = []
        self._length = 0

    def block(self, text: str, level: int | None = None, breaks: int = 2) -> None:
        """A paragraph, or with a level a heading, after so many line ends; nothing for spaces alone.

        Raises:
            AssetError: LIMIT for a text that is not held in memory.
        """
        text = text.strip()
        if not text:
            return
        lead = "\n" * breaks if self._length else ""
        if level is not None:
            self._headings.append(Heading(self._length + len(lead), level, text.partition("\n")[0]))
        self._pieces += (lead, text)
        self._length += len(lead) + len(text)
        if self._length > MOST_CHARS:
            raise AssetError(
                ErrorCode.LIMIT, f"a text of more than {MOST_CHARS} characters; export it in parts"
            )

    def row(self, cells: Iterable[str], first: bool = False) -> None:
        """A row of a table, its empty last cells left out."""
        line = " | ".join(" ".join(cell.split()) for cell in cells)
        self.block(line.rstrip(" |"), breaks=2 if first else 1)

    def picture(self, source: Source, alt: str = "") -> None:
        """A picture after what was written so far, with its description."""
        self.alternative(alt)
        self._pictures.append(Picture(self._length, source))

    def alternative(self, alt: str) -> None:
        """The description of a picture, if it is one."""
        self.block("" if _FILE_NAME.fullmatch(alt.strip()) else alt)

    def readable(self, page: int | None = None, path: tuple[str, ...] = ()) -> Readable:
        """What was written."""
        return Readable("".join(self._pieces), tuple(self._headings), tuple(self._pictures), page, path)
