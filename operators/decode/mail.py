"""Mail: messages with their subject, people, text and pictures; a mailbox message by message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import count
from typing import Any, BinaryIO, cast

from operators.decode.asset import Asset
from operators.decode.html import html_readable
from operators.decode.readable import WHOLE_BYTES, Picture, Readable, readable_segments
from operators.decode.sections import Heading
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_PEOPLE_CHARS = 500
_DEEPEST = 8
_FROM_LINE = re.compile(rb"From \S+ .*\d\d:\d\d")
_QUOTED = re.compile(rb">+From ")
_CLOSED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_BYTES = 1 << 16
_PARSER = BytesParser(policy=policy.default)


def decode_mail(asset: Asset) -> Iterator[Segment]:
    """Chunks of a message, and of the messages that it forwards; `page` numbers them from 1.

    The text is the plain one, or the HTML one where that is all there is or where it shows pictures. Attached
    pictures and texts follow it; of other attachments the name.

    Raises:
        AssetError: EMPTY, ENCRYPTED (S/MIME or PGP), LIMIT over `WHOLE_BYTES`.
    """
    pages = count(1)
    mail: Any = _PARSER.parsebytes(asset.read(WHOLE_BYTES))
    if _is_closed(mail):
        raise AssetError(ErrorCode.ENCRYPTED, f"an encrypted message ({mail.get_content_type()})")
    return readable_segments(_message(mail, pages, asset, 0), asset)


def decode_mbox(asset: Asset) -> Iterator[Segment]:
    """Chunks of a mailbox, streamed: one message is in memory at a time.

    Of a message that is encrypted or over `WHOLE_BYTES` its subject, people and date are read.

    Raises:
        AssetError: EMPTY, LIMIT for messages too deep in others.
    """
    pages = count(1)
    messages = (_PARSER.parsebytes(raw) for raw in _mailbox(asset.file))
    return readable_segments((text for m in messages for text in _message(m, pages, asset, 0)), asset)


def _mailbox(file: BinaryIO) -> Iterator[bytes]:
    """Messages between lines that begin with `From `, after a blank line or at the start."""
    file.seek(0)
    held: list[bytes] = []
    size, blank = 0, True
    while line := file.readline(_LINE_BYTES):
        if blank and _FROM_LINE.match(line):
            if held:
                yield b"".join(held)
            held, size = [], 0
        else:
            size += len(line)
            if size <= WHOLE_BYTES:
                held.append(line[1:] if _QUOTED.match(line) else line)
            elif held:
                # Its head stays, as a message without a body.
                yield _HEAD_END.split(b"".join(held), maxsplit=1)[0]
                held = []
        blank = not line.strip()
    if held:
        yield b"".join(held)


def _message(mail: Any, pages: Iterable[int], asset: Asset, depth: int) -> Iterator[Readable]:
    """A message as one text, then each that it holds."""
    page = next(iter(pages))
    if _is_closed(mail):
        yield Readable(_heading(mail), page=page)
        return
    parts = _Parts(mail)
    yield replace(parts.readable(_header(mail, "Subject"), _heading(mail)), page=page)
    for inner in parts.messages:
        if depth >= _DEEPEST:
            raise AssetError(ErrorCode.LIMIT, f"messages within messages, more than {_DEEPEST} deep")
        yield from _message(inner, pages, asset, depth + 1)


def _is_closed(mail: Any) -> bool:
    return mail.get_content_type() in _CLOSED and mail.get_param("smime-type") != "signed-data"


def _heading(mail: EmailMessage) -> str:
    lines = ((name, _header(mail, name)) for name in _SHOWN)
    return "\n".join(f"{name}: {value[:_PEOPLE_CHARS]}" for name, value in lines if value)


def _header(mail: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(mail.get(name) or "").split())
    except Exception:
        # The parser of structured headers has many ways to fail on what spam puts there.
        raw = dict(mail.raw_items()).get(name, "")
        return " ".join(str(raw).split())


class _Parts:
    """The leaves of a message, sorted into what is read, shown, named and opened in turn."""

    def __init__(self, mail: EmailMessage) -> None:
        self.plain: list[str] = []
        self.attached: list[str] = []
        self.html: list[str] = []
        self.named: list[str] = []
        self.messages: list[EmailMessage] = []
        self.pictures: list[bytes] = []
        self.inline: dict[str, bytes] = {}
        self._sort(mail)

    def readable(self, subject: str, heading: str) -> Readable:
        """Headers, text and pictures; inline ones where the HTML shows them, the others at the end."""
        page = html_readable("\n".join(self.html)) if self.html else Readable("")
        shown = [p for p in page.pictures if isinstance(p.source, str) and self._inline(p.source) is not None]
        if self.plain and not shown:
            page = Readable("\n\n".join(self.plain).strip())
        named = [f"Attachment: {name}" for name in self.named]
        body_at = len(heading) + 2
        text = "\n\n".join((heading, page.text, *self.attached, *(["\n".join(named)] if named else [])))
        pictures = [
            Picture(body_at + p.at, data or p.source)
            for p in page.pictures
            if (data := self._inline(str(p.source))) or str(p.source).startswith("data:")
        ]
        used = {p.source for p in pictures}
        rest = [data for data in (*self.inline.values(), *self.pictures) if data not in used]
        pictures += [Picture(len(text), data) for data in dict.fromkeys(rest)]
        inner = (Heading(body_at + h.at, h.level + 1, h.title) for h in page.headings)
        return Readable(text, (Heading(0, 1, subject), *inner), tuple(pictures))

    def _inline(self, source: str) -> bytes | None:
        return self.inline.get(source.removeprefix("cid:"))

    def _sort(self, part: Any) -> None:
        kind, maintype = part.get_content_type(), part.get_content_maintype()
        if kind == "message/rfc822":
            self.messages += [m for m in part.get_payload() if isinstance(m, EmailMessage)]
        elif part.is_multipart():
            for inner in part.get_payload():
                self._sort(inner)
        else:
            self._leaf(part, kind, maintype)

    def _leaf(self, part: EmailMessage, kind: str, maintype: str) -> None:
        name = part.get_filename()
        if maintype == "text" and (name or part.is_attachment()):
            body = html_readable(_text(part)).text if kind == "text/html" else _text(part)
            self.attached.append(f"Attachment: {name or kind}\n{body.strip()}")
        elif maintype == "text":
            (self.html if kind == "text/html" else self.plain).append(_text(part))
        elif maintype == "image":
            data = cast(bytes | None, part.get_payload(decode=True)) or b""
            marks = [_header(part, "Content-ID").strip("<>"), _header(part, "Content-Location")]
            for mark in filter(None, marks):
                self.inline[mark] = data
            if not any(marks):
                self.pictures.append(data)
            self.named += [name] if name else []
        elif name:
            self.named.append(name)


def _text(part: EmailMessage) -> str:
    body = cast(bytes | None, part.get_payload(decode=True)) or b""
    try:
        return body.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")
