"""Daft with the same weights in the libraries that its users have for them, without embedlake's fused engine.

Pictures: the same EfficientNet in plain torch, float32. Sound: Whisper in CTranslate2, int8, as faster-whisper runs it,
which is faster here than transformers; then sentence-transformers on the transcript. A video has a vector of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import daft
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from daft import DataType, col

from operators.model.composed import ingredients
from operators.model.composed.speech import SpeechTower
from operators.model.fused.efficientnet import FEATURES, load_tower
from operators.parts import PartKind
from pipelines.engine.cluster import cores
from tests.benchmarks.peers.own_way import film, sound
from tests.benchmarks.peers.work import BATCH, Work, note

_PICTURES = 8
"""At once: more are slower in torch, too."""
_TEXT = 384
_FRAME = DataType.tensor(DataType.uint8())
_SOUND = DataType.tensor(DataType.int16())
_SEEN = DataType.fixed_size_list(DataType.float32(), FEATURES)
_HEARD = DataType.fixed_size_list(DataType.float32(), _TEXT)
Vectors = npt.NDArray[np.float32]


class Stock:
    """What a workload needs, loaded; that it is, and each batch, is noted in the log."""

    def __init__(self, work: Work) -> None:
        self._log = work.log
        if work.workload != "audio":
            self._vision = load_tower(ingredients.CLASSIFIER.verified())
        if work.workload != "images":
            from sentence_transformers import SentenceTransformer

            weights, tokenizer = ingredients.SPEECH.verified(), ingredients.SPEECH_TOKENIZER.verified()
            self._speech = SpeechTower(weights, tokenizer, "cpu", cores())
            self._text = SentenceTransformer(str(ingredients.TEXT.path().parent), device="cpu")
        self.done(time.monotonic(), 0)

    def done(self, started: float, rows: int) -> None:
        """So many rows are through."""
        note(self._log, started, rows)

    def seen(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Vectors:
        """Features of pictures of one size."""
        batches = (pictures[start : start + _PICTURES] for start in range(0, len(pictures), _PICTURES))
        found = [self._vision(torch.from_numpy(np.stack(batch))).numpy() for batch in batches]
        return np.concatenate(found)

    def heard(self, sounds: Sequence[npt.NDArray[np.int16]]) -> Vectors:
        """Vectors of what is said."""
        return np.asarray(self._text.encode(self._speech.transcribe(sounds), batch_size=BATCH), np.float32)


def daft_stock(work: Work) -> None:
    """Daft's own download, decode and resize where it has them, and a class that holds the libraries."""
    frame = daft.from_glob_path(f"{work.corpus}/*").with_column("data", col("path").download())
    made = {"images": _images, "audio": _audio, "videos": _videos}[work.workload](work, frame)
    made.exclude("data", "decoded").write_parquet(work.out)


def _embedded(work: Work, kind: Any, embed: Callable[[Stock, list[Any]], Any]) -> Any:
    """A class that holds the libraries and gives each batch of a column's values to them."""

    @daft.cls
    class Embed:
        def __init__(self) -> None:
            self.stock = Stock(work)

        @daft.method.batch(return_dtype=kind, batch_size=BATCH)
        def __call__(self, values: daft.Series) -> Any:
            started = time.monotonic()
            found = embed(self.stock, values.to_pylist())
            self.stock.done(started, len(found))
            return found

    return Embed()(col("decoded"))


def _images(work: Work, frame: Any) -> Any:
    side = work.spec.card.image.side
    decoded = col("data").decode_image(mode=daft.ImageMode.RGB).resize(side, side)
    embedding = _embedded(
        work, _SEEN, lambda stock, images: _column(stock.seen(list(map(np.asarray, images))))
    )
    return frame.with_column("decoded", decoded).with_column("embedding", embedding)


def _audio(work: Work, frame: Any) -> Any:
    @daft.func(return_dtype=_SOUND)
    def decoded(data: bytes) -> Any:
        return sound(data)[0].array

    embedding = _embedded(
        work, _HEARD, lambda stock, sounds: _column(stock.heard(list(map(np.asarray, sounds))))
    )
    return frame.with_column("decoded", decoded(col("data"))).with_column("embedding", embedding)


def _videos(work: Work, frame: Any) -> Any:
    side = work.spec.card.frame.side

    @daft.func(return_dtype=DataType.struct({"frames": _FRAME, "sound": _SOUND}))
    def decoded(data: bytes) -> Any:
        parts = film(data, side)
        frames = [part.array for part in parts if part.kind is PartKind.FRAME]
        return {"frames": np.stack(frames), "sound": parts[-1].array}

    def both(stock: Stock, videos: list[Any]) -> pa.StructArray:
        seen = np.stack([stock.seen(list(np.asarray(one["frames"]))).mean(axis=0) for one in videos])
        heard = stock.heard([np.asarray(one["sound"]) for one in videos])
        return pa.StructArray.from_arrays([_column(seen), _column(heard)], names=["seen", "heard"])

    embedding = _embedded(work, DataType.struct({"seen": _SEEN, "heard": _HEARD}), both)
    return frame.with_column("decoded", decoded(col("data"))).with_column("embedding", embedding)


def _column(vectors: Vectors) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
