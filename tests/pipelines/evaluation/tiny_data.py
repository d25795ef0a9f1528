"""A data folder of the real layout with a handful of made-up things in it: every set builds in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.training.data.speech import is_test_sentence
from tests.operators.decode.clips import audio, tone
from tests.operators.decode.pages import pdf_bytes

_ADJECTIVES = ("old", "red", "tall", "loud", "cheap", "round", "early", "quiet")
_NOUNS = ("tower", "apple", "horse", "bell", "shoe", "wheel", "train", "owl", "river", "coat", "lamp", "drum")
STAMPS = tuple(f"{adjective} {noun}" for adjective in _ADJECTIVES[:4] for noun in _NOUNS)
SENTENCES = tuple(
    s
    for a in _ADJECTIVES
    for n in _NOUNS
    for v in ("stood", "fell", "waited", "broke", "shone", "moved", "slept", "aged")
    if is_test_sentence(s := f"the {a} {n} {v} by the {n}s of noon")
)
HEADINGS = tuple(
    f"{doing} {what}" for doing in ("Mounting", "Reading", "Printing") for what in ("disks", "mail", "pages")
)
TERMS = ("kernel", "daemon", "socket", "buffer", "thread")
"""Each stands once on every page of the manuals, in another passage."""
RATE = 16_000


def write(folder: Path) -> Path:
    """All the packages that the sets need but for those of emoji and clip art."""
    _wordnet(folder / "wordnet-base/usr/share/wordnet")
    _stamps(folder / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/things")
    for package in ("debian-reference-en", "maint-guide"):
        (folder / package).mkdir(parents=True)
        (folder / package / "manual.en.pdf").write_bytes(_manual(package))
    _speech(folder / "speech/test")
    return folder


def _wordnet(folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = [
        f'{i:08d} 03 n 01 word_{i} 0 000 | what {" ".join(s.split()[1:4])} means; "{s}"'
        for i, s in enumerate(SENTENCES)
    ]
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{part}").write_text("\n".join(["  a licence", *(lines if part == "noun" else [])]))


def _stamps(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i, name in enumerate(STAMPS):
        rng = np.random.default_rng(i)
        Image.new("RGB", (40, 30), tuple(rng.integers(0, 256, 3))).save(folder / f"s{i}.png")
        (folder / f"s{i}.txt").write_text(f"A {name}.\nde.utf8=Ein Ding\n")
        if i % 8 == 0:
            (folder / f"s{i}_desc.ogg").write_bytes(
                audio("ogg", "libopus", tone(0.5, 48_000, 200 + 10 * i), 48_000)
            )


def _manual(package: str) -> bytes:
    """Pages with a running head, a heading and words; the outline points at each page."""
    pages = ["\n".join(["Running head", heading, *_lines(package, i)]) for i, heading in enumerate(HEADINGS)]
    plain = pdf_bytes(*pages, size="0 0 5000 400")
    body = plain[: plain.rindex(b"xref\n0 ")].replace(b"/Pages 2 0 R>>", b"/Pages 2 0 R/Outlines 90 0 R>>", 1)
    entries = [
        b"9%d 0 obj\n<</Title(%s)/Parent 90 0 R/Dest[%d 0 R/Fit]%s>>\nendobj\n"
        % (
            i + 1,
            f"1.{i} {h}".encode(),
            4 + 2 * i,
            b"/Next 9%d 0 R" % (i + 2) if i + 1 < len(HEADINGS) else b"",
        )
        for i, h in enumerate(HEADINGS)
    ]
    root = b"90 0 obj\n<</Type/Outlines/First 91 0 R/Last 9%d 0 R/Count %d>>\nendobj\n" % (
        (len(HEADINGS),) * 2
    )
    # No cross-reference table: readers then look for the objects themselves.
    return body + root + b"".join(entries) + b"trailer<</Size 99/Root 1 0 R>>\nstartxref\n0\n%%EOF"


def _lines(package: str, page: int) -> list[str]:
    """Five lines of 28 words, a term in each."""
    lines = [[f"{package[0]}{page}{line}{word:02d}" for word in range(28)] for line in range(5)]
    for line, words in enumerate(lines):
        words[9] = TERMS[(line + page) % len(TERMS)]
    return [" ".join(words) for words in lines]


def _speech(folder: Path) -> None:
    folder.mkdir(parents=True)
    sounds = [tone(0.2 + 0.01 * i, RATE, 200 + 20 * i) for i in range(len(SENTENCES))]
    np.savez(
        folder / "00000.npz",
        samples=np.concatenate(sounds),
        ends=np.cumsum([len(s) for s in sounds]),
        texts=np.array(SENTENCES),
        voices=np.array(["test/tone"] * len(sounds)),
    )
