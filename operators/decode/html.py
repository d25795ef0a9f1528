"""HTML as the text that a reader of the page would see."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

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


def html_text(source: str) -> str:
    """The title and the readable text: blocks on lines of their own, cells apart, `pre` as it stands."""
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
    return "".join(out.pieces).strip()


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
            self.pieces.append("\n" * (count - self._newlines))
            self._newlines = count
        self._space = self._space and count == 0

    def _put(self, text: str) -> None:
        if not text:
            return
        if self._space and self._newlines == 0:
            self.pieces.append(" ")
        self.pieces.append(text)
        self._space = False
        self._newlines = len(text) - len(text.rstrip("\n")) if self.verbatim else 0
