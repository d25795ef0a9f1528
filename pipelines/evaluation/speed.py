"""How fast a model is beside stock libraries running the same ingredients on the same inputs."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer

from operators.decode.image import fit_pixels
from operators.model.composed.ingredients import IMAGE, SPEECH_TOKENIZER, TEXT
from operators.model.composed.vision import SIDE, read_onnx
from operators.model.contract import Engine, ModelSpec
from operators.parts import Part, PartKind
from pipelines.evaluation.items import SAMPLE_RATE as RATE
from pipelines.evaluation.report import Speed
from pipelines.evaluation.speech import utterances
from pipelines.evaluation.stock import stock_whisper
from pipelines.evaluation.texts import manual, wordnet
from pipelines.training.data.pictures import stamps
from pipelines.training.data.raster import open_picture
from schemas.card import Role
from schemas.errors import ModelError

_TEXTS, _PICTURES, _SOUNDS = 384, 96, 24
_ROUNDS = 3
_STOCK_BATCH = 32
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Load:
    """What is embedded: texts of 2 to 250 tokens, decoded pictures, and speech."""

    texts: list[str]
    pictures: list[Image.Image]
    sounds: list[Samples]

    @property
    def seconds(self) -> float:
        """Of sound."""
        return sum(map(len, self.sounds)) / RATE


def load_of(data: Path, seed: int) -> Load:
    """A seeded sample of the evaluation sets."""
    rng = random.Random(seed)  # noqa: S311
    short = [item[0] for item in wordnet(data, seed, None).gallery]
    long = [item[0] for item in manual(data, seed, None).gallery]
    texts = [t for t in rng.sample(short, _TEXTS // 2) + rng.sample(long, _TEXTS // 2) if isinstance(t, str)]
    rng.shuffle(texts)
    pictures = [open_picture(p.path).convert("RGB") for p in rng.sample(list(stamps(data)), _PICTURES)]
    return Load(texts, pictures, [samples for samples, _ in rng.sample(utterances(data), _SOUNDS)])


def measure(spec: ModelSpec, load: Load, threads: int) -> tuple[Speed, ...]:
    """Each kind by itself, and a batch of all kinds and lengths; ours and stock in turns, the median of rounds.

    Both sides start from decoded media and end with vectors: tokenization, resizing and mel filters are counted.
    """
    if spec.card.image is None:
        raise ModelError(f"model '{spec.card.model_id}' takes no pictures: its speed is not measured")
    engine, preparer = spec.load(threads=threads), spec.preparer(Role.DOCUMENT)
    want = spec.card.image

    def ours(texts: Sequence[str], pictures: Sequence[Image.Image], sounds: Sequence[Samples]) -> None:
        inputs = [(Part(PartKind.TEXT, t),) for t in texts]
        inputs += [(Part(PartKind.IMAGE, data=fit_pixels(p, want)),) for p in pictures]
        inputs += [(Part(PartKind.AUDIO, data=s),) for s in sounds]
        _embed(engine, preparer.prepare(inputs)[0])

    with tempfile.TemporaryDirectory() as folder:
        stock = _Stock(Path(folder))
        sizes = ("texts", "texts/s", len(load.texts)), ("pictures", "pictures/s", len(load.pictures))
        runs: list[tuple[str, str, float, Callable[[], None], Callable[[], None]]] = [
            (*sizes[0], lambda: ours(load.texts, (), ()), lambda: stock.texts(load.texts)),
            (*sizes[1], lambda: ours((), load.pictures, ()), lambda: stock.pictures(load.pictures)),
            (
                "speech",
                "seconds/s",
                load.seconds,
                lambda: ours((), (), load.sounds),
                lambda: stock.sounds(load.sounds),
            ),
            (
                "mixed batch",
                "inputs/s",
                len(load.texts) + len(load.pictures) + len(load.sounds),
                lambda: ours(load.texts, load.pictures, load.sounds),
                lambda: stock.all(load),
            ),
        ]
        return tuple(_compare(*run) for run in runs)


def _embed(engine: Engine, prepared: list[tuple[Part, ...]]) -> None:
    engine.embed(prepared)


def _compare(
    what: str, unit: str, amount: float, ours: Callable[[], None], stock: Callable[[], None]
) -> Speed:
    times: dict[Callable[[], None], list[float]] = {ours: [], stock: []}
    for _ in range(_ROUNDS):
        for run, taken in times.items():
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    first, second = (amount / float(np.median(taken)) for taken in times.values())
    return Speed(what=what, unit=unit, ours=first, stock=second, note=_NOTES[what])


_NOTES = {
    "texts": "stock: sentence-transformers, MiniLM, batches of 32",
    "pictures": "stock: sentence-transformers, a ViT-S/14 at 112 px (it has no EfficientNet), batches of 32",
    "speech": "stock: transformers' Whisper tiny.en, greedy, padded to 30 s; sentence-transformers on the transcript",
    "mixed batch": "stock: the three above, one after the other",
}


class _Stock:
    """The ingredients as their libraries run them by default."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model, WhisperFeatureExtractor

        size = {"height": SIDE, "width": SIDE}
        shape = Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
        )
        weights = read_onnx(IMAGE.verified())
        Dinov2Model.from_pretrained(None, config=shape, state_dict=weights).save_pretrained(folder)
        BitImageProcessorPil(size=size, crop_size=size, do_center_crop=False).save_pretrained(folder)
        self._text: Any = SentenceTransformer(str(TEXT.verified().parent), device="cpu")
        modules = [Transformer(str(folder)), Pooling(384)]
        self._image: Any = SentenceTransformer(modules=modules, device="cpu")
        self._whisper: Any = stock_whisper()
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(SPEECH_TOKENIZER.verified()))
        self._extract: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]

    def texts(self, texts: Sequence[str]) -> None:
        self._text.encode(list(texts), batch_size=_STOCK_BATCH)

    def pictures(self, pictures: Sequence[Image.Image]) -> None:
        self._image.encode(list(pictures), batch_size=_STOCK_BATCH)

    @torch.inference_mode()
    def sounds(self, sounds: Sequence[Samples]) -> None:
        for start in range(0, len(sounds), 8):
            waves = [s.astype(np.float32) / 32_768 for s in sounds[start : start + 8]]
            mel = self._extract(waves, sampling_rate=RATE, return_tensors="pt").input_features
            ids = self._whisper.generate(mel)
            self.texts([self._tokenizer.decode(row) for row in ids.tolist()])

    def all(self, load: Load) -> None:
        self.texts(load.texts)
        self.pictures(load.pictures)
        self.sounds(load.sounds)
