"""A mixed corpus of small assets that is quick to write and to read, with a long one and broken ones among them."""

from __future__ import annotations

import io
import json
import random
import wave
from pathlib import Path

import numpy as np
from PIL import Image

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo" / "corpus"
TEXT = "the cat sat on a mat and the boat ran far from the harbour of the old town by night"
WORDS = TEXT.split(" ")
LONG_WORDS = 6_000


def write_corpus(folder: Path, assets: int, seed: int = 0) -> None:
    """Texts, images, sounds, pages, documents; one in a hundred is broken, one is a long text."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for n in range(assets):
        name, body = _asset(n, rng)
        (folder / name).write_bytes(body)
    (folder / "long.txt").write_text(" ".join(rng.choices(WORDS, k=LONG_WORDS)))


def _asset(n: int, rng: random.Random) -> tuple[str, bytes]:
    if n % 100 == 99:
        return f"{n:04d}.png", b"\x89PNG\r\n\x1a\nbroken"
    kind = rng.choices(["txt", "png", "wav", "json", "pdf"], [50, 25, 10, 10, 5])[0]
    if kind == "txt":
        return f"{n:04d}.txt", f"note {n}: {' '.join(rng.choices(WORDS, k=30))}".encode()
    if kind == "png":
        return f"{n:04d}.png", _picture(rng)
    if kind == "wav":
        return f"{n:04d}.wav", _sound(rng)
    if kind == "json":
        text = " ".join(rng.choices(WORDS, k=10))
        return f"{n:04d}.json", json.dumps(
            {"parts": [f"document {n}", {"type": "text", "text": text}]}
        ).encode()
    return f"{n:04d}.pdf", (DEMO / "pdf" / "harbour-guide.pdf").read_bytes() + f"\n% {n}".encode()


def _picture(rng: random.Random) -> bytes:
    out = io.BytesIO()
    pixels = np.full((48, 64, 3), [rng.randrange(256) for _ in range(3)], np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _sound(rng: random.Random) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        time = np.arange(16_000 * rng.randint(1, 8)) / 16_000
        file.writeframes((np.sin(time * rng.uniform(600, 3_000)) * 9_000).astype(np.int16).tobytes())
    return out.getvalue()
