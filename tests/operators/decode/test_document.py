"""Interleaved documents: one segment with the parts in their order, within the model's limits."""

from __future__ import annotations

import base64
import io
import json
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from operators.decode.document import decode_document
from operators.parts import PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode, Stage
from schemas.recipe import AudioRecipe, DocumentRecipe, Recipe
from tests.operators.decode.clips import audio, tone, video
from tests.operators.decode.pages import Words, make_card, pdf_bytes

RATE = 8_000
RECIPE = Recipe(audio=AudioRecipe(window_ms=2_000, overlap_ms=500))


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(out, "PNG")
    return out.getvalue()


def paint(seconds: float) -> np.ndarray:
    """Each second has its own grey."""
    return np.full((32, 32, 3), 20 * int(seconds + 1), np.uint8)


def steps() -> np.ndarray:
    """Six seconds at 8 kHz; each has its own loudness."""
    return np.concatenate([tone(1, RATE) // 8 * (second + 1) for second in range(6)])


FILES = {
    "red.png": picture("red"),
    "clip.mp4": video(list(range(0, 8_000, 100)), paint, sound=tone(8, 48_000)),
    "talk.wav": audio("wav", "pcm_s16le", steps(), RATE),
    "paper.pdf": pdf_bytes("first page", "second page"),
}
OPENED: list[io.BytesIO] = []


def open_ref(reference: str) -> BinaryIO:
    if reference not in FILES:
        raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, f"{reference} is outside the roots", Stage.FETCH)
    OPENED.append(io.BytesIO(FILES[reference]))
    return OPENED[-1]


def decoded(value: Any, card: ModelCard | None = None, recipe: Recipe = RECIPE) -> Segment:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    (segment,) = decode_document(data, recipe, card or make_card(), Words(), open_ref)
    return segment


def failure(value: Any, card: ModelCard | None = None, recipe: Recipe = RECIPE) -> AssetError:
    with pytest.raises(AssetError) as caught:
        decoded(value, card, recipe)
    assert "\n" not in caught.value.detail
    return caught.value


def kinds(segment: Segment) -> list[str]:
    return [str(part.kind) for part in segment.parts]


def test_a_document_is_one_segment_with_its_parts_in_order() -> None:
    inline = "data:image/png;base64," + base64.b64encode(picture("blue")).decode()
    segment = decoded(
        {
            "id": 7,
            "title": "Trip",
            "price": {"eur": 3},
            "parts": [
                "a string",
                {"type": "image", "uri": "red.png"},
                {"type": "text", "text": "between"},
                {"type": "image", "data": inline},
                {"type": "pdf", "uri": "paper.pdf", "page": 2},
            ],
        }
    )
    assert segment.modality is Modality.DOCUMENT
    assert kinds(segment) == ["text", "text", "image", "text", "image", "image", "text"]
    assert segment.parts[2].array[0, 0].tolist() == [255, 0, 0]
    assert segment.parts[4].array[0, 0].tolist() == [0, 0, 255]
    assert segment.text == "Trip\na string\nbetween\nsecond page"
    assert all(file.closed for file in OPENED)


def test_a_span_of_sound_is_cut_exactly_and_in_one_piece() -> None:
    (part,) = decoded(
        {"parts": [{"type": "audio", "uri": "talk.wav", "start_ms": 1500, "end_ms": 4500}]}
    ).parts
    assert part.kind is PartKind.AUDIO
    assert (part.at_ms, len(part.array)) == (0, 3 * RATE)
    np.testing.assert_allclose(part.array, steps()[RATE * 3 // 2 : RATE * 9 // 2], atol=2)


def test_sound_without_a_span_gives_one_window() -> None:
    (part,) = decoded({"parts": [{"type": "audio", "uri": "talk.wav"}]}).parts
    assert len(part.array) == 2 * RATE
    (part,) = decoded({"parts": [{"type": "audio", "uri": "talk.wav", "start_ms": 1000}]}).parts
    np.testing.assert_allclose(part.array, steps()[RATE : 3 * RATE], atol=2)


def test_a_span_of_video_has_the_frames_and_the_sound_of_its_time() -> None:
    span = {"type": "video", "uri": "clip.mp4", "start_ms": 2500, "end_ms": 5500}
    segment = decoded({"parts": [span]})
    frames = [p for p in segment.parts if p.kind is PartKind.FRAME]
    assert [p.at_ms for p in frames] == [0, 500, 1500, 2500]
    greys = [round(float(p.array.mean()) / 20) for p in frames]
    assert greys == [3, 4, 5, 6], "the frame on display, then each second's own"
    sounds = [p for p in segment.parts if p.kind is PartKind.AUDIO]
    assert sum(len(p.array) for p in sounds) == 3 * RATE
    assert [p.at_ms for p in sounds] == [0, 500, 1500, 2500]


def test_a_video_longer_than_a_window_gives_its_first_window() -> None:
    card = make_card(video_ms=3_000)
    segment = decoded({"parts": [{"type": "video", "uri": "clip.mp4"}]}, card)
    assert [p.at_ms for p in segment.parts if p.kind is PartKind.FRAME] == [0, 1000, 2000]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"{", "JSON"),
        ({"parts": "x"}, "parts"),
        ({"parts": [3]}, "parts.0"),
        ({"parts": ["a", {"type": "picture", "uri": "x"}]}, "picture"),
        ({"parts": [{"type": "image", "url": "x"}]}, "url"),
        ({"parts": [{"type": "image"}]}, "'uri' or 'data'"),
        ({"parts": [{"type": "image", "uri": "a", "data": "b"}]}, "'uri' or 'data'"),
        ({"parts": [{"type": "image", "data": "http://x"}]}, "part 1 (image)"),
        ({"parts": [{"type": "image", "data": "data:image/png;base64,!!"}]}, "base64"),
        ({"parts": [{"type": "audio", "uri": "talk.wav", "start_ms": 5, "end_ms": 5}]}, "end_ms 5"),
        ({"parts": [{"type": "audio", "uri": "talk.wav", "start_ms": 90_000}]}, "start_ms 90000"),
        ({"parts": [{"type": "pdf", "uri": "paper.pdf", "page": 3}]}, "page 3 of a PDF of 2"),
        (b'{"parts":' + b"[" * 100_000, ""),
    ],
)
def test_a_wrong_document_is_refused_in_one_line(value: Any, says: str) -> None:
    error = failure(value)
    assert error.code is ErrorCode.INVALID_DOCUMENT
    assert says in error.detail


@pytest.mark.parametrize("parts", [[], ["", "  "]])
def test_a_document_without_content_is_empty(parts: list[str]) -> None:
    assert failure({"parts": parts}).code is ErrorCode.EMPTY


def test_limits_are_refused_with_the_numbers() -> None:
    image = {"type": "image", "uri": "red.png"}
    for value, card, said in (
        ([image] * 3, make_card(images=2), "3 images"),
        (["a b c", "d e"], make_card(text_tokens=4), "5 tokens of text"),
        (["a b c", image], make_card(tokens=66), "67 tokens so far, test-model takes 66"),
        (
            [{"type": "audio", "uri": "talk.wav", "start_ms": 0, "end_ms": 5_000}],
            make_card(audio_ms=4_000),
            "5000 ms",
        ),
        (
            [{"type": "video", "uri": "clip.mp4", "end_ms": 5_000}],
            make_card(audio_ms=4_000),
            "takes 4000 ms of audio",
        ),
    ):
        error = failure({"parts": value}, card)
        assert error.code is ErrorCode.LIMIT
        assert said in error.detail
    few = Recipe(document=DocumentRecipe(max_parts=2))
    assert "3 parts" in failure({"parts": ["a", "b", "c"]}, recipe=few).detail


def test_errors_of_a_medium_keep_their_code_and_name_the_part() -> None:
    error = failure({"parts": ["a", {"type": "image", "uri": "../etc/passwd"}]})
    assert (error.code, error.stage) == (ErrorCode.SOURCE_NOT_ALLOWED, Stage.FETCH)
    assert "part 2 (image ../etc/passwd)" in error.detail
    FILES["bad.png"] = picture("red")[:40]
    error = failure({"parts": [{"type": "image", "uri": "bad.png"}]})
    assert error.code is ErrorCode.CORRUPT


def test_a_model_gets_only_what_its_card_takes() -> None:
    words = make_card(Modality.TEXT, image=None)
    assert kinds(decoded({"parts": ["a", "b"]}, words)) == ["text", "text"]
    assert kinds(decoded({"parts": ["a", {"type": "pdf", "uri": "paper.pdf"}]}, words)) == ["text", "text"]
    image = {"type": "image", "uri": "red.png"}
    error = failure({"parts": ["a", image]}, words)
    assert (error.code, "part 2" in error.detail) == (ErrorCode.MODALITY, True)
    pair = make_card(Modality.TEXT, Modality.IMAGE)
    assert kinds(decoded({"parts": [image]}, pair)) == ["image"]
    error = failure({"parts": ["a", image]}, pair)
    assert error.code is ErrorCode.MODALITY
    assert "image, text" in error.detail
