"""What is decoded without a child: which files, that they give the same, and that no file makes it costly."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from operators.decode import registry
from operators.isolation.decoders import Decoders
from operators.isolation.here import SOUND_US, TEXT_BYTES, harmless
from operators.model.contract import TextCounter
from operators.model.tokens import FastTokenizer
from operators.parts import Segment
from schemas.card import Limits, Modality
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe
from tests.fuzz.mutations import CRAFTED, mutants
from tests.fuzz.seeds import SEEDS, seed
from tests.models.tiny_text import build_tiny_text
from tests.operators.decode.clips import audio, card, tone
from tests.operators.decode.pages import Words
from tests.operators.decode.test_registry import ASSETS, no_reference

PROSE = ("The cat sat on the mat. It was caf\u00e9 au lait.\n\n" * 30).encode()
SOUND = audio("wav", "pcm_s16le", tone(2))
RECIPE = Recipe()
SECONDS = 5.0
"""Of CPU: what a hostile file takes is below a second of a quiet machine."""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> FastTokenizer:
    return FastTokenizer.from_folder(build_tiny_text(tmp_path_factory.mktemp("text") / "tiny"))


@pytest.fixture
def isolated() -> Iterator[Decoders]:
    made = Decoders(DecodeConfig())
    yield made
    made.close()


def told(segments: Iterator[Segment]) -> list[object]:
    return [(s.locator, s.text, [p.data.tobytes() for p in s.parts if p.data is not None]) for s in segments]


def alone(data: bytes, counter: TextCounter, name: str = "x", limit: int = 512) -> list[object] | ErrorCode:
    try:
        model = card(limits=Limits(tokens=8192, text_tokens=limit))
        return told(registry.decode(io.BytesIO(data), name, RECIPE, model, counter, no_reference)[1])
    except AssetError as error:
        return error.code


def by_decoders(isolated: Decoders, file: io.BytesIO, counter: TextCounter) -> list[object] | ErrorCode:
    try:
        return told(isolated.decode(file, "x", RECIPE, card(), counter, no_reference)[1])
    except AssetError as error:
        return error.code


def pcm(subtype: str, rate: int, seconds: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(seconds * rate, np.int16), rate, subtype, format="WAV")
    return out.getvalue()


@pytest.mark.parametrize("data", [PROSE, b"word", SOUND, b"a line\n" * (TEXT_BYTES // 7)])
def test_text_and_pcm_start_no_child_and_give_the_same(
    isolated: Decoders, counter: FastTokenizer, data: bytes
) -> None:
    result = by_decoders(isolated, io.BytesIO(data), counter)
    assert result == alone(data, counter)
    assert isolated._idle == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (PROSE, "x.md"),
        (PROSE, "x.py"),
        (PROSE, "x.csv"),
        (b"  <!doctype html><p>words", "x"),
        (b'\n {"parts": ["words"]}', "x"),
        (b"From: a@b\nMessage-ID: <c>\n\nwords", "x"),
        (b"WEBVTT\n\nwords", "x"),
        (b"%PDF-1.4 words", "x"),
        (b"BZh words", "x"),
        (b"PK\3\4 words of some length, so that they are text", "x"),
        (b"\xef\xbb\xbfwords", "x"),
        ("caf\u00e9".encode("latin-1"), "x"),
        ("words".encode("utf-16"), "x"),
        (b" \n", "x"),
        (b"", "x"),
        (b"a" * (TEXT_BYTES + 1), "x"),
        (SOUND[:-2], "x"),
        (pcm("FLOAT", 16_000, 1), "x"),
        (pcm("PCM_U8", 8_000, SOUND_US // 1_000_000 + 1), "x"),
        *((ASSETS[kind], "x") for kind in Modality if kind is not Modality.TEXT),
    ],
)
def test_what_a_parser_reads_or_is_odd_or_large_needs_a_child(
    counter: FastTokenizer, data: bytes, name: str
) -> None:
    assert harmless(io.BytesIO(data), name, counter) is None


def test_a_counter_of_unknown_code_counts_in_a_child() -> None:
    assert harmless(io.BytesIO(PROSE), "x", Words()) is None


def test_a_file_on_disk_is_read_by_a_child(counter: FastTokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    with open(tmp_path / "a.txt", "rb") as file:
        assert harmless(file, "a.txt", counter) is None


def test_between_other_assets_each_gives_what_it_gives_alone(
    isolated: Decoders, counter: FastTokenizer
) -> None:
    picture, page = ASSETS[Modality.IMAGE], ASSETS[Modality.PAGE]
    bodies = [PROSE, picture, SOUND, page, b"", b"word", SOUND[:-2], picture, PROSE] * 3
    files = [io.BytesIO(body) for body in bodies]
    for file in files:
        isolated.expect(file, "x", RECIPE, card(), counter)
    assert [by_decoders(isolated, file, counter) for file in files] == [
        alone(body, counter) for body in bodies
    ]
    here = sum(body in (PROSE, SOUND, b"word") for body in bodies)
    assert isolated._idle[0].served == len(bodies) - here


def test_a_model_that_takes_no_sound_says_so(isolated: Decoders, counter: FastTokenizer) -> None:
    media, segments = isolated.decode(
        io.BytesIO(SOUND), "x", RECIPE, card(modalities=(Modality.TEXT,)), counter, no_reference
    )
    assert media.modality is Modality.AUDIO
    with pytest.raises(AssetError) as caught:
        next(segments)
    assert caught.value.code is ErrorCode.MODALITY


def test_mutated_text_and_sound_end_in_segments_or_a_named_error(
    isolated: Decoders, counter: FastTokenizer
) -> None:
    files = mutants({name: seed(name) for name in SEEDS if name in ("a.txt", "a.wav")}, 600, 7)
    outcomes: Counter[str] = Counter()
    for name, body in (files | CRAFTED).items():
        if harmless(io.BytesIO(body), name, counter) is None:
            continue
        found = alone(body, counter, name)
        outcomes[found if isinstance(found, ErrorCode) else "embedded"] += 1
        assert found == by_decoders(isolated, io.BytesIO(body), counter)
    assert isolated._idle == []
    assert outcomes["embedded"] > 100
    assert not {ErrorCode.INTERNAL, ErrorCode.STORAGE} & outcomes.keys(), outcomes


HOSTILE = {
    "one word": "a",
    "quotes": '"',
    "sentences of nothing": ").",
    "accents on one letter": "\u0301",
    "emoji joined": "\U0001f468\u200d",
    "blank lines": "\n \t ",
    "headings": "\n# ",
    "header fields": "Aa: b\n",
    "a portable bitmap of comments": "P4 #\n",
    "ideographs": "\u4e2d\u3002",
    "letters that grow": "\ufdfa",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("limit", [128, 8192])
def test_no_text_of_the_largest_size_is_slow(counter: FastTokenizer, what: str, limit: int) -> None:
    unit = HOSTILE[what]
    data = ("x" + unit * (TEXT_BYTES // len(unit.encode()) - 1)).encode()
    started = time.process_time()
    assert harmless(io.BytesIO(data), "x.txt", counter) is not None
    assert alone(data, counter, "x.txt", limit)
    assert time.process_time() - started < SECONDS
