"""The files of the decode benchmark: photograph-like pictures, clips, recordings and pages, made from one seed."""

from __future__ import annotations

import io
import random
from functools import cache

import numpy as np
import pillow_heif
from PIL import Image

from tests.benchmarks.corpus import SEED, WORDS
from tests.operators.decode.clips import audio, every, tone, video
from tests.operators.decode.pages import scanned_pdf


@cache
def photo(width: int, height: int) -> Image.Image:
    """Large shapes, fine shapes and grain, as a photograph has them."""
    draw = np.random.default_rng(SEED)
    layers = [
        np.asarray(
            Image.fromarray(draw.integers(0, 256, (height // step, width // step, 3), np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for step in (120, 24)
    ]
    grain = draw.normal(0, 4, (height, width, 1)).astype(np.float32)
    mixed = 0.7 * layers[0] + 0.3 * layers[1] + grain
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def saved(form: str, width: int, height: int, **options: object) -> bytes:
    """The photograph in a format of Pillow's."""
    if form == "HEIF":
        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    photo(width, height).save(out, form, **options)
    return out.getvalue()


def gif(width: int, height: int, frames: int) -> bytes:
    """An animation of ten frames a second."""
    wide = photo(2 * width, height)
    shots = [wide.crop((4 * n, 0, 4 * n + width, height)) for n in range(frames)]
    out = io.BytesIO()
    shots[0].save(out, "GIF", save_all=True, append_images=shots[1:], duration=100)
    return out.getvalue()


def recording(container: str, codec: str, rate: int, seconds: int = 60) -> bytes:
    """A tone with noise, mono."""
    noise = np.random.default_rng(SEED).integers(-2_000, 2_000, seconds * rate).astype(np.int16)
    return audio(container, codec, tone(seconds, rate) + noise, rate)


def clip(container: str, codec: str, seconds: int = 30, **options: str) -> bytes:
    """640 x 360 at 25 frames a second, a slow pan, no sound."""
    wide = np.asarray(photo(1600, 360))
    return video(
        every(40, seconds * 1000),
        lambda at: wide[:, int(at * 25) : int(at * 25) + 640],
        container=container,
        codec=codec,
        options=options,
    )


def pages(count: int) -> bytes:
    """Each with a picture and 3,000 characters."""
    return scanned_pdf(count, side=600, seed=SEED)


def prose(words: int) -> str:
    """English-like sentences and paragraphs."""
    draw = random.Random(SEED)
    said: list[str] = []
    for n in range(words):
        end = "" if draw.random() > 0.1 else "." if n % 7 else ".\n\n"
        said.append(draw.choice(WORDS) + end)
    return " ".join(said)


def html(paragraphs: int) -> bytes:
    """A page with headings, paragraphs, links, a list and scripts, as the web has them."""
    body = "".join(
        f"<h2 class='t'>{prose(6)}</h2><p>{prose(60)} <a href='#'>{prose(4)}</a></p>"
        f"<ul><li>{prose(8)}</li><li>{prose(8)}</li></ul><script>var x = {n};</script>"
        for n in range(paragraphs)
    )
    head = "<head><title>A page</title><style>p {color: red}</style></head>"
    return f"<!doctype html><html>{head}<body><nav>menu</nav>{body}</body></html>".encode()
