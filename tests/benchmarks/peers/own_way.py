"""The same jobs as a user of each would write them: other decoders, other chunks, the same models."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pypdfium2 as pdfium
import soundfile
import soxr
from av.video.reformatter import Interpolation

from operators.part_columns import to_arrow
from operators.parts import Part, PartKind
from schemas.card import Role
from schemas.tables import PART
from tests.benchmarks.peers.work import BATCH, Embedder, Work, model_of, note

RATE = 16_000
CHARACTERS, OVERLAP = 1_500, 150
"""Of a chunk: about what the model reads."""


def pages(data: bytes) -> list[str]:
    """The text of each page."""
    document = pdfium.PdfDocument(data)
    try:
        return [page.get_textpage().get_text_bounded() for page in document]
    finally:
        document.close()


def chunks(text: str) -> Iterator[str]:
    """By characters, at a blank where there is one."""
    at = 0
    while at < len(text):
        end = at + CHARACTERS
        cut = len(text) if end >= len(text) else text.rfind(" ", at + OVERLAP, end)
        cut = end if cut < 0 else cut
        yield text[at:cut]
        at = cut if cut >= len(text) else cut - OVERLAP


def sound(data: bytes) -> tuple[Part, ...]:
    """libsndfile, then soxr to the model's rate."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    mono = samples.mean(axis=1).astype(np.int16)
    return (Part(PartKind.AUDIO, data=soxr.resample(mono, rate, RATE)),)


def film(data: bytes, side: int) -> tuple[Part, ...]:
    """PyAV twice: the first frame of each second, then the sound."""
    taken: list[Part] = []
    with av.open(io.BytesIO(data)) as file:
        for frame in file.decode(video=0):
            if frame.time >= len(taken):
                small = frame.reformat(side, side, "rgb24", interpolation=Interpolation.BICUBIC)
                taken.append(Part(PartKind.FRAME, data=small.to_ndarray(), at_ms=round(frame.time * 1000)))
    with av.open(io.BytesIO(data)) as file:
        resampler = av.AudioResampler("s16", "mono", RATE)
        heard = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
        heard += [f.to_ndarray()[0] for f in resampler.resample(None)]
    return (*taken, Part(PartKind.AUDIO, data=np.concatenate(heard), at_ms=0))


def daft_own(work: Work) -> None:
    """Daft's own download, decode and resize where it has them, `embed_text` for documents, else a class."""
    import daft
    from daft import col

    frame = daft.from_glob_path(f"{work.corpus}/*").with_column("data", col("path").download())
    embedded = {
        "documents": _documents,
        "images": _images,
        "audio": lambda w, f: _media(w, f, sound),
        "videos": lambda w, f: _media(w, f, lambda data: film(data, w.spec.card.frame.side)),
    }[work.workload](work, frame)
    embedded.select("path", "ordinal", "embedding").write_parquet(work.out)


def _documents(work: Work, frame: Any) -> Any:
    import daft
    from daft import DataType, col
    from daft.functions import embed_text

    _clock_encode(work)

    @daft.func(return_dtype=DataType.list(DataType.string()), use_process=True)
    def chunked(data: bytes) -> list[str]:
        return [chunk for text in pages(data) for chunk in chunks(text)]

    texts = frame.with_column("text", chunked(col("data"))).exclude("data").explode("text")
    vector = embed_text(col("text"), provider="transformers", model=model_of("documents"))
    return texts.with_column("ordinal", daft.lit(0)).with_column("embedding", vector)


def _images(work: Work, frame: Any) -> Any:
    import daft
    from daft import DataType, col

    side = work.spec.card.image.side

    @daft.cls
    class Images:
        def __init__(self) -> None:
            self.embedder = Embedder(work.spec)

        @daft.method.batch(
            return_dtype=DataType.fixed_size_list(DataType.float32(), work.spec.card.dim), batch_size=BATCH
        )
        def __call__(self, images: daft.Series) -> Any:
            inputs = [(Part(PartKind.IMAGE, data=np.asarray(image)),) for image in images.to_pylist()]
            return self.embedder.vectors(to_arrow(inputs))

    decoded = col("data").decode_image(mode=daft.ImageMode.RGB).resize(side, side)
    rows = frame.with_column("image", decoded).exclude("data")
    return rows.with_column("ordinal", daft.lit(0)).with_column("embedding", Images()(col("image")))


def _media(work: Work, frame: Any, read: Callable[[bytes], tuple[Part, ...]]) -> Any:
    import daft
    from daft import DataType, col

    preparer = work.spec.preparer(Role.DOCUMENT)

    @daft.func(return_dtype=DataType.from_arrow_type(pa.list_(PART)))
    def parts(data: bytes) -> Any:
        return to_arrow(preparer.prepare([read(data)])[0]).to_pylist()[0]

    @daft.cls
    class Media:
        def __init__(self) -> None:
            self.embedder = Embedder(work.spec)

        @daft.method.batch(
            return_dtype=DataType.fixed_size_list(DataType.float32(), work.spec.card.dim), batch_size=BATCH
        )
        def __call__(self, column: daft.Series) -> Any:
            return self.embedder.vectors(column.to_arrow())

    rows = frame.with_column("parts", parts(col("data"))).exclude("data")
    return rows.with_column("ordinal", daft.lit(0)).with_column("embedding", Media()(col("parts")))


def sentence_transformers(work: Work) -> None:
    """A script over PDFs: all texts, one `encode`, one file."""
    from sentence_transformers import SentenceTransformer

    _clock_encode(work)
    model = SentenceTransformer(model_of(work.workload), local_files_only=True)
    files = sorted(Path(work.corpus).iterdir())
    texts = [
        (str(file), chunk) for file in files for text in pages(file.read_bytes()) for chunk in chunks(text)
    ]
    vectors = model.encode([text for _, text in texts], batch_size=BATCH)
    Path(work.out).mkdir(parents=True, exist_ok=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({"path": [path for path, _ in texts], "embedding": column})
    pq.write_table(table, Path(work.out) / "vectors.parquet")


def _clock_encode(work: Work) -> None:
    """What `Clocked` does, for a model that the library itself loads."""
    from sentence_transformers import SentenceTransformer

    encode, log = SentenceTransformer.encode, work.log

    def clocked(self: Any, texts: Any, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        found = encode(self, texts, *args, **kwargs)
        note(log, started, len(texts))
        return found

    SentenceTransformer.encode = clocked
