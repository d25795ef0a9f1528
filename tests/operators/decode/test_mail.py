"""Messages with their headers, texts and pictures; a mailbox is streamed, one message after another."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from operators.decode import mail as mails
from schemas.card import Modality
from schemas.errors import ErrorCode
from tests.operators.decode.pages import make_card
from tests.operators.decode.texts import decoded, failure, kinds, mail, png

BETWEEN = b"\nFrom a@example.org Sat Jan  3 01:05:34 1996\n"


def test_a_message_shows_its_html_with_the_pictures_in_their_place() -> None:
    outer, inner = decoded(mail().as_bytes(), tokens=200)
    assert kinds(outer) == ["text", "image", "text"]
    before, after = outer.parts[0].text or "", outer.parts[2].text or ""
    assert before.startswith("Subject: Fête du port\nFrom: a@example.org\nTo: b@example.org\n\nSee the quay:")
    assert after.startswith("at noon")
    assert "Attachment: list.txt\nbring rope" in after
    assert after.endswith("Attachment: map.pdf")
    assert (inner.locator.page, inner.text) == (2, "Subject: Old news\n\nThe crane is broken.")


def test_the_plain_text_is_taken_where_no_picture_would_be_shown() -> None:
    outer, _ = decoded(mail(html=False).as_bytes(), tokens=200)
    assert "See you at the quay." in (outer.text or "")
    assert kinds(outer) == ["text"]


def test_attached_pictures_follow_the_text() -> None:
    message = mail(html=False)
    message.add_attachment(png("blue"), maintype="image", subtype="png", filename="boat.png")
    outer, _ = decoded(message.as_bytes(), tokens=200)
    assert kinds(outer) == ["text", "image"]
    assert "Attachment: boat.png" in (outer.text or "")
    alone, _ = decoded(message.as_bytes(), tokens=200, card=make_card(Modality.TEXT, image=None))
    assert kinds(alone) == ["text"]


def test_a_long_thread_says_what_it_is_of() -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["Message-ID"] = "Harbour dues", "a@b.c", "<1@x>"
    message.set_content("the dues are due " * 60)
    segments = decoded(message.as_bytes(), tokens=40)
    assert all((s.parts[0].text or "").startswith("Harbour dues\n\n") for s in segments[1:])


def test_a_mailbox_gives_its_messages_as_pages() -> None:
    quoted = b"From: a@b.c\nMessage-ID: <1@x>\nSubject: one\n\n>From the quay\nno\nFrom here on\n"
    box = BETWEEN[1:] + quoted + BETWEEN + b"Subject: two\n\nsecond\n" + BETWEEN + mail(html=False).as_bytes()
    segments = decoded(box, tokens=200)
    assert [s.locator.page for s in segments] == [1, 2, 3, 4]
    assert "From the quay\nno\nFrom here on" in (segments[0].text or "")
    assert segments[1].text == "Subject: two\n\nsecond"


def test_a_closed_message_is_encrypted_and_a_signed_one_is_read() -> None:
    head = b"From: a@b.c\nMIME-Version: 1.0\nContent-Type: "
    for kind in (b'multipart/encrypted; boundary="q"\n\n--q--\n', b"application/pkcs7-mime\n\nxx"):
        assert failure(head + kind).code is ErrorCode.ENCRYPTED
    signed = b'multipart/signed; boundary="q"\n\n--q\nContent-Type: text/plain\n\nhello\n--q--\n'
    assert "hello" in (decoded(head + signed)[0].text or "")


@pytest.mark.parametrize(
    "raw",
    [
        b"From: \xff\xfe <\nMessage-ID: x\nSubject: =?nope?Q?x?=\nDate: never\n\nbody\n",
        b'From: a\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="gone"\n\nbody\n',
        b"From: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=nope\n\nbody\n",
        b"From: a\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n!!!body\n",
        b"From: a\nMIME-Version: 1.0\nContent-Type: ;;;\nTo: @@@@<<>>,,,:::;\n\nbody\n",
        b'From: [\nMessage-ID: [\nTo: [[[\nCc: "\n\nbody\n',
    ],
)
def test_malformed_mail_is_still_read(raw: bytes) -> None:
    assert decoded(raw)[0].text


def test_messages_too_deep_or_too_large_are_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    message = mail(html=False)
    for _ in range(12):
        outer = EmailMessage()
        outer["From"], outer["Message-ID"] = "a@b.c", "<1@x>"
        outer.set_content("see below")
        outer.add_attachment(message)
        message = outer
    assert failure(message.as_bytes()).code is ErrorCode.LIMIT
    monkeypatch.setattr(mails, "WHOLE_BYTES", 100)
    assert failure(mail().as_bytes()).code is ErrorCode.LIMIT


def test_a_message_of_a_mailbox_that_cannot_be_read_costs_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mails, "WHOLE_BYTES", 1000)
    closed = b"From: a@b.c\nMessage-ID: <1@x>\nSubject: sealed\nContent-Type: application/pkcs7-mime\n\nxx\n"
    large = b"From: a@b.c\nSubject: large\n\n" + b"word\n" * 2000
    plain = b"From: a@b.c\nSubject: plain\n\nhello\n"
    box = b"".join(BETWEEN + message for message in (closed, large, plain))
    texts = [s.text for s in decoded(box[1:], tokens=200)]
    assert texts == [
        "Subject: sealed\nFrom: a@b.c",
        "Subject: large\nFrom: a@b.c",
        "Subject: plain\nFrom: a@b.c\n\nhello",
    ]


def test_an_encrypted_message_that_is_forwarded_costs_its_body() -> None:
    sealed, outer = EmailMessage(), EmailMessage()
    sealed["Subject"], sealed["Content-Type"] = "sealed", "application/pkcs7-mime"
    outer["From"], outer["Message-ID"] = "a@b.c", "<1@x>"
    outer.set_content("see below")
    outer.add_attachment(sealed)
    assert [s.text for s in decoded(outer.as_bytes(), tokens=200)] == [
        "From: a@b.c\n\nsee below",
        "Subject: sealed",
    ]
