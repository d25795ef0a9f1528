"""HTML as the text that a reader of the page would see, with its headings and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from operators.decode.asset import Asset
from operators.decode.readable import WHOLE_BYTES, Picture, Readable, readable_segments
from operators.decode.sections import Heading
from operators.decode.text import encoding, with_mark
from operators.parts import Segment

_DROPPED = re.compile(
    "script|style|noscript|template|svg|math|iframe|object|canvas|audio|video|select|datalist|button|textarea"
)
_LINE = re.compile("br|div|li|tr|dt|dd|figcaption|caption|address|legend|label|summary|hr|thead|tbody|tfoot")
_PARAGRAPH = re.compile(
    "title|p|h[1-6]|ul|ol|dl|table|blockquote|pre|section|article|header|footer|main|nav|aside|figure|form|"
    "fieldset|details"
)
_CELLS = frozenset({"td", "th"})
_SPACES = re.compile(r"[ \t\n\r\f]+")


_HEADING = re.compile("h[1-6]")
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([-\w:.]+)", re.IGNORECASE)


def decode_html(asset: Asset) -> Iterator[Segment]:
    """A page's readable text by its headings, with its pictures; locators count characters of that text.

    Raises:
        AssetError: LIMIT over `WHOLE_BYTES`, EMPTY, CORRUPT where no encoding fits.
    """
    body = asset.read(WHOLE_BYTES)
    yield from readable_segments([html_readable(_page(body, encoding(asset.file)))], asset)


def _page(body: bytes, codec: str) -> str:
    declared = _META.search(body[:4096])
    if codec != "utf-8" and not with_mark(codec) and declared:
        try:
            return body.decode(declared[1].decode("ascii"), "replace")
        except (LookupError, UnicodeError):
            pass
    return body.decode(codec, "replace")


def html_text(source: str) -> str:
    """The title and the readable text: blocks on lines of their own, cells apart, `pre` as it stands."""
    return html_readable(source).text


def html_readable(source: str, page: int | None = None, path: tuple[str, ...] = ()) -> Readable:
    """The readable text of a page with the places of its headings and pictures."""
    out = _Writer()
    node: LexborNode | None = LexborHTMLParser(source).root
    while node is not None:
        entered = _open(node, out)
        following = node.child if entered else None
        while following is None and node is not None:
            _close(node, out)
            following = node.next
            node = node.parent if following is None else node
        node = following
    whole = "".join(out.pieces)
    text = whole.strip()
    lead = len(whole) - len(whole.lstrip())
    ends = [*(at for at, _ in out.headings), len(whole)][1:]
    headings = (
        Heading(max(0, at - lead), level, whole[at:end].strip().partition("\n")[0])
        for (at, level), end in zip(out.headings, ends, strict=True)
    )
    pictures = tuple(Picture(min(max(0, at - lead), len(text)), src) for at, src in out.pictures)
    return Readable(text, tuple(h for h in headings if h.title and h.at < len(text)), pictures, page, path)


def _open(node: LexborNode, out: _Writer) -> bool:
    """Write what comes at a node's start; whether to go into it."""
    tag = node.tag or ""
    if node.is_text_node:
        out.add(node.text_content or "")
        return False
    if _DROPPED.fullmatch(tag):
        return False
    if tag in _CELLS:
        out.space()
    out.lines(_breaks(tag))
    if _HEADING.fullmatch(tag):
        out.headings.append((out.length, int(tag[1])))
    elif tag == "img":
        out.picture(node.attributes)
    out.verbatim += tag == "pre"
    return True


def _close(node: LexborNode, out: _Writer) -> None:
    tag = node.tag or ""
    if _DROPPED.fullmatch(tag):
        return
    out.verbatim -= tag == "pre"
    if tag != "br":
        out.lines(_breaks(tag))


def _breaks(tag: str) -> int:
    return 2 if _PARAGRAPH.fullmatch(tag) else int(_LINE.fullmatch(tag) is not None)


class _Writer:
    """Text with single spaces and at most one blank line, except inside `pre`."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.length = 0
        self.headings: list[tuple[int, int]] = []
        self.pictures: list[tuple[int, str]] = []
        self.verbatim = 0
        self._newlines = 2
        self._space = False

    def add(self, text: str) -> None:
        if self.verbatim:
            self._put(text.replace("\r\n", "\n"))
            return
        text = _SPACES.sub(" ", text)
        if text.startswith(" "):
            self.space()
        words = text.strip(" ")
        if words:
            self._put(words)
        if text.endswith(" "):
            self.space()

    def space(self) -> None:
        """A space before what comes next, unless that starts a line."""
        self._space = True

    def lines(self, count: int) -> None:
        """At least `count` line ends before what comes next."""
        if count > self._newlines:
            self._write("\n" * (count - self._newlines))
            self._newlines = count
        self._space = self._space and count == 0

    def picture(self, attributes: dict[str, str | None]) -> None:
        """A picture by its alternative text, in its place."""
        if alt := (attributes.get("alt") or "").strip():
            self.space()
            self.add(alt)
            self.space()
        source = attributes.get("src") or attributes.get("data-src")
        if source and source.strip():
            self.pictures.append((self.length, source.strip()))

    def _write(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)

    def _put(self, text: str) -> None:
        if not text:
            return
        if self._space and self._newlines == 0:
            self._write(" ")
        self._write(text)
        self._space = False
        self._newlines = len(text) - len(text.rstrip("\n")) if self.verbatim else 0
