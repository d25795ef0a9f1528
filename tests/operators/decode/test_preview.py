"""A picture for people is of the place that was asked for, and nothing else of the medium is decoded for it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from operators.decode.preview import decode
from operators.decode.video import frame_at
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe, VideoRecipe
from tests.models.hashed import WordCounter
from tests.operators.decode.clips import audio, card, counting, every, tone, video

CORPUS = Path(__file__).resolve().parents[3] / "infra" / "demo" / "corpus"


@pytest.fixture(scope="module", params=[("mp4", "libx264"), ("webm", "libvpx-vp9"), ("matroska", "mpeg4")])
def clip(request: pytest.FixtureRequest) -> bytes:
    container, codec = request.param
    return video(every(100, 12_000), counting, container=container, codec=codec)


def grey(data: bytes, at_ms: int) -> int:
    part = frame_at(io.BytesIO(data), at_ms, Recipe(), card())
    assert part.array.dtype == np.uint8
    return round(float(part.array.mean()))


@pytest.mark.parametrize("at_ms", [0, 300, 4_500, 7_000, 11_500])
def test_a_frame_is_of_its_time(clip: bytes, at_ms: int) -> None:
    assert abs(grey(clip, at_ms) - at_ms // 1000 * 20) <= 6


def test_after_the_end_comes_the_last_frame(clip: bytes) -> None:
    assert abs(grey(clip, 60_000) - 220) <= 6


def test_sound_alone_has_no_frame() -> None:
    with pytest.raises(AssetError) as caught:
        grey(audio("wav", "pcm_s16le", tone(1)), 0)
    assert caught.value.code is ErrorCode.EMPTY


def test_a_frame_over_the_recipe_s_pixels_is_refused(clip: bytes) -> None:
    recipe = Recipe(video=VideoRecipe(max_pixels=100))
    with pytest.raises(AssetError) as caught:
        frame_at(io.BytesIO(clip), 0, recipe, card())
    assert caught.value.code is ErrorCode.LIMIT


def shown(name: str, **part: Any) -> Segment:
    def opened(reference: str) -> BinaryIO:
        assert reference == "asset"
        return (CORPUS / name).open("rb")

    request = io.BytesIO(json.dumps({"parts": [{"uri": "asset", **part}]}).encode())
    _, segments = decode(request, name, Recipe(), card(), WordCounter(), opened)
    (segment,) = segments
    return segment


def test_images_pages_and_frames_are_one_picture_each() -> None:
    pages = [shown("pdf/harbour-guide.pdf", type="pdf", page=page) for page in (1, 2)]
    others = [
        shown("images/lighthouse.jpg", type="image"),
        shown("video/farm-day.mp4", type="video", start_ms=9_000),
    ]
    for segment in (*pages, *others):
        (part,) = segment.parts
        assert part.array.shape[2] == 3
    assert not np.array_equal(pages[0].parts[0].array, pages[1].parts[0].array)


def test_sound_shows_nothing() -> None:
    with pytest.raises(AssetError) as caught:
        shown("audio/guitar-lesson.mp3", type="audio")
    assert caught.value.code is ErrorCode.UNSUPPORTED
