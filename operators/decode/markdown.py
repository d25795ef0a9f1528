"""Markdown by its headings, with its pictures; the text of a chunk is the source as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, image
from markdown_it.token import Token

from operators.decode.asset import Asset
from operators.decode.readable import Picture, Readable, readable_segments
from operators.decode.sections import Heading
from operators.decode.text import decode_text, encoding
from operators.parts import Segment

PARSED_BYTES = 8 << 20
"""Larger files are cut as plain text, streamed: the parser holds about fifty times its source."""

_DATA = re.compile(r"(data:[\w.+-]*/[\w.+-]*)(?:;[\w=-]*)*,[A-Za-z0-9+/=%\s_-]{64,}")
_HTML_IMAGE = re.compile(r"<img\b[^>]*?\bsrc\s*=\s*(?:\"([^\"]+)\"|'([^']+)'|([^\s>]+))[^>]*>", re.IGNORECASE)
_FRONT = re.compile(r"\A---[^\S\n]*\n.*?\n(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL)
_LINE_END = re.compile(r"\r\n?|\n")


def decode_markdown(asset: Asset) -> Iterator[Segment]:
    """Chunks that keep to their sections; characters are those of the source without the bytes of data URIs.

    Raises:
        AssetError: EMPTY, CORRUPT where no encoding fits, and what `readable_segments` raises.
    """
    asset.file.seek(0, 2)
    if asset.file.tell() > PARSED_BYTES:
        return decode_text(asset)
    codec = encoding(asset.file)
    text = asset.read(PARSED_BYTES).decode(codec, "replace")
    return readable_segments([markdown_readable(text)], asset)


def markdown_readable(source: str, page: int | None = None, path: tuple[str, ...] = ()) -> Readable:
    """The headings and pictures of a CommonMark text; inline pictures give up their place in the text."""
    text, inline = _without_data(source)
    front = _FRONT.match(text)
    body_at = front.end() if front else 0
    lines = _line_starts(text, body_at)
    headings: list[Heading] = []
    pictures: list[Picture] = []
    tokens = _parser().parse(text[body_at:])
    for index, token in enumerate(tokens):
        if token.map is None:
            continue
        if token.type == "heading_open" and token.level == 0:
            title = _plain(tokens[index + 1])
            headings.append(Heading(lines[token.map[0]], int(token.tag[1:]), title))
        elif token.type == "inline":
            pictures += _pictures(token, text, lines, inline)
        elif token.type == "html_block":
            start, end = lines[token.map[0]], lines[min(token.map[1], len(lines) - 1)]
            pictures += _html_pictures(text[start:end], start, inline)
    return Readable(text, tuple(headings), tuple(sorted(pictures, key=lambda p: p.at)), page, path)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    parser.inline.ruler.at("image", _located_image)
    return parser


def _located_image(state: StateInline, silent: bool) -> bool:
    found = image(state, silent)
    if found and not silent:
        state.tokens[-1].meta = {"end": state.pos}
    return found


def _plain(inline: Token) -> str:
    return "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline", "image"))


def _line_starts(text: str, first: int) -> list[int]:
    """Where each line begins, and the end of the text."""
    starts = [first, *(m.end() for m in _LINE_END.finditer(text, first))]
    return [*starts, len(text)]


def _pictures(token: Token, text: str, lines: list[int], inline: list[str]) -> Iterator[Picture]:
    begin, stop = token.map or (0, 0)
    places = _Places(token.content, text, lines[begin : stop + 1])
    for child in token.children or ():
        if child.type == "image":
            yield Picture(places.at(child.meta["end"]), _source(str(child.attrs["src"]), inline))
        elif child.type == "html_inline":
            at = places.at(token.content.find(child.content) + len(child.content))
            yield from (Picture(at, p.source) for p in _html_pictures(child.content, at, inline))


class _Places:
    """A block's content back in its source: the parser strips what markers and indents each line begins with."""

    def __init__(self, content: str, text: str, lines: list[int]) -> None:
        self.starts: list[tuple[int, int]] = []
        at = 0
        bounds = list(pairwise(lines))
        for number, line in enumerate(content.split("\n")):
            start, end = bounds[min(number, len(bounds) - 1)]
            self.starts.append((at, max(start, text.find(line, start, end))))
            at += len(line) + 1

    def at(self, offset: int) -> int:
        """The place in the source of a place in the content."""
        begin, start = max((s for s in self.starts if s[0] <= offset), default=(0, 0))
        return start + offset - begin


def _html_pictures(html: str, at: int, inline: list[str]) -> Iterator[Picture]:
    for found in _HTML_IMAGE.finditer(html):
        yield Picture(at + found.end(), _source(found[1] or found[2] or found[3], inline))


def _without_data(source: str) -> tuple[str, list[str]]:
    """The text with each data URI cut to `data:TYPE;N`, and the URIs."""
    inline: list[str] = []

    def short(found: re.Match[str]) -> str:
        inline.append("".join(found[0].split()))
        return f"{found[1]};{len(inline) - 1}"

    return _DATA.sub(short, source), inline


def _source(src: str, inline: list[str]) -> str:
    if not src.startswith("data:"):
        return src
    number = src.rpartition(";")[2]
    return inline[int(number)] if number.isdecimal() and int(number) < len(inline) else src
