"""One small, sound file of each media type, made by code. A new format is a line here, and every mutation hits it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import b64encode
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from PIL import Image

from tests.operators.decode.clips import audio, counting, every, tone, video
from tests.operators.decode.pages import encrypted_pdf, pdf_bytes
from tests.operators.decode.texts import SAMPLES, mail, zipped

_FAST = {"preset": "ultrafast"}


def _pixels(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def _picture(form: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        Image.fromarray(_pixels()).convert(mode).save(out, form, **options)
        return out.getvalue()

    return make


def _frames(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        first, *rest = (Image.fromarray(np.roll(_pixels(), n, 0)) for n in range(4))
        out = io.BytesIO()
        first.save(out, form, save_all=True, append_images=rest, duration=400)
        return out.getvalue()

    return make


def _sound(container: str, codec: str, rate: int = 16_000) -> Callable[[], bytes]:
    return lambda: audio(container, codec, tone(1.0, rate), rate)


def _film(container: str, codec: str, sound_codec: str, **options: str) -> Callable[[], bytes]:
    def make() -> bytes:
        return video(every(200, 1400), counting, container, codec, tone(1, 48_000), sound_codec, options)

    return make


def _document() -> bytes:
    picture = "data:image/png;base64," + b64encode(_picture("PNG")()).decode()
    parts = ["words", {"type": "image", "data": picture}, {"type": "text", "text": "more words"}]
    return json.dumps({"title": "a title", "parts": parts}).encode()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in _members().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _members() -> dict[str, bytes]:
    return {"in/a.txt": _TEXT.encode(), "in/a.png": _picture("PNG")(), "in/b.txt": (_TEXT * 3).encode()}


_TEXT = "The cat sat on the mat. \u00c9t\u00e9 comes, and the boat ran far away. "
_PAGE = "<!doctype html><html><head><title>t</title></head><body><p>words<table><tr><td>a<td>b</table>"

SEEDS: dict[str, Callable[[], bytes]] = {
    "a.txt": lambda: (_TEXT * 20).encode(),
    "utf16.txt": lambda: (_TEXT * 10).encode("utf-16"),
    "a.html": lambda: (_PAGE + f"<p>{_TEXT}" * 10).encode(),
    "a.json": lambda: json.dumps({"a": [1, {"b": [_TEXT] * 4}]}).encode(),
    "document.json": _document,
    "a.jpg": _picture("JPEG", quality=80),
    "cmyk.jpg": _picture("JPEG", "CMYK"),
    "progressive.jpg": _picture("JPEG", progressive=True),
    "a.png": _picture("PNG"),
    "palette.png": _picture("PNG", "P"),
    "a.webp": _picture("WEBP"),
    "a.gif": _picture("GIF"),
    "moving.gif": _frames("GIF"),
    "moving.webp": _frames("WEBP"),
    "pages.tiff": _frames("TIFF"),
    "lzw.tiff": _picture("TIFF", compression="tiff_lzw"),
    "a.bmp": _picture("BMP"),
    "a.ico": _picture("ICO"),
    "a.avif": _picture("AVIF"),
    "a.jp2": _picture("JPEG2000"),
    "a.ppm": _picture("PPM"),
    "a.tga": _picture("TGA"),
    "a.pdf": lambda: pdf_bytes("a page of words", "and one more", ""),
    "encrypted.pdf": encrypted_pdf,
    "a.wav": _sound("wav", "pcm_s16le"),
    "a.mp3": _sound("mp3", "libmp3lame"),
    "a.flac": _sound("flac", "flac"),
    "a.ogg": _sound("ogg", "libopus", 48_000),
    "a.m4a": _sound("mp4", "aac"),
    "a.aiff": _sound("aiff", "pcm_s16be"),
    "a.mp4": _film("mp4", "libx264", "aac", **_FAST),
    "a.mkv": _film("matroska", "mpeg4", "flac"),
    "a.webm": _film("webm", "libvpx", "libopus"),
    "a.avi": _film("avi", "mpeg4", "mp3"),
    "a.ts": _film("mpegts", "libx264", "mp2", **_FAST),
    "a.svg": lambda: (
        b"<svg xmlns='http://www.w3.org/2000/svg' width='90' height='60'><path d='M1 1L80 50z'/></svg>"
    ),
    "a.mbox": lambda: b"From a@example.org Thu Jan  1 00:00:00 1970\n" + mail().as_bytes() + b"\n",
    "a.txt.gz": lambda: gzip.compress((_TEXT * 9).encode()),
    "a.zip": lambda: zipped(_members()),
    "a.tar": _tar,
    "a.tar.gz": lambda: gzip.compress(_tar()),
    **{name: partial(bytes, data) for name, data in SAMPLES.items()},
}


@cache
def seed(name: str) -> bytes:
    """A seed's bytes."""
    return SEEDS[name]()
