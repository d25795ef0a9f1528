"""Any asset goes to its decoder, and every way to fail ends in one AssetError."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from operators.decode import registry
from operators.decode.registry import decode
from operators.decode.sniff import MediaType
from operators.parts import Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode, Stage
from schemas.recipe import Recipe
from tests.operators.decode.clips import audio, tone, video
from tests.operators.decode.pages import Words, encrypted_pdf, make_card, pdf_bytes


def no_reference(reference: str) -> BinaryIO:
    raise AssetError(ErrorCode.NOT_FOUND, reference, Stage.FETCH)


def run(
    file: BinaryIO | bytes, name: str = "x", card: ModelCard | None = None
) -> tuple[MediaType, list[Segment]]:
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    media, segments = decode(file, name, Recipe(), card or make_card(), Words(), no_reference)
    return media, list(segments)


def failure(file: BinaryIO | bytes, name: str = "x", card: ModelCard | None = None) -> AssetError:
    with pytest.raises(AssetError) as caught:
        run(file, name, card)
    return caught.value


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10), "green").save(out, "PNG")
    return out.getvalue()


ASSETS = {
    Modality.TEXT: b"some words",
    Modality.IMAGE: picture(),
    Modality.AUDIO: audio("ogg", "libopus", tone(1, 48_000), 48_000),
    Modality.VIDEO: video([0, 500, 1000], lambda s: np.full((32, 32, 3), 90, np.uint8)),
    Modality.PAGE: pdf_bytes("a page"),
    Modality.DOCUMENT: json.dumps({"parts": ["a", "b"]}).encode(),
}


@pytest.mark.parametrize("modality", Modality)
def test_every_modality_is_decoded_under_a_misleading_name(modality: Modality) -> None:
    media, segments = run(ASSETS[modality], "https://host/file.bin?download=1")
    assert media.modality is modality
    assert segments[0].modality is modality
    assert segments[0].parts


@pytest.mark.parametrize("modality", Modality)
def test_a_model_that_takes_none_of_it_refuses_with_the_media_type_known(modality: Modality) -> None:
    other = Modality.AUDIO if modality is not Modality.AUDIO else Modality.VIDEO
    media, segments = decode(
        io.BytesIO(ASSETS[modality]), "x", Recipe(), make_card(other), Words(), no_reference
    )
    assert media.modality is modality
    with pytest.raises(AssetError) as caught:
        next(segments)
    assert caught.value.code is ErrorCode.MODALITY


def test_a_model_of_text_reads_pdfs_and_documents_of_text() -> None:
    card = make_card(Modality.TEXT, image=None)
    for modality in (Modality.PAGE, Modality.DOCUMENT):
        assert len(run(ASSETS[modality], card=card)[1]) == 1


def test_no_bytes_no_text_and_no_reader_are_told_apart() -> None:
    assert failure(b"").code is ErrorCode.EMPTY
    assert failure(b"  \n").code is ErrorCode.EMPTY
    assert failure(b"\x7fELF\2\1\1\0\0").code is ErrorCode.UNSUPPORTED
    assert failure(encrypted_pdf()).code is ErrorCode.ENCRYPTED
    assert failure(b"\0\1\2\xff" * 20, "photo.jpg").code is ErrorCode.CORRUPT


def test_a_reference_that_cannot_be_opened_keeps_its_code() -> None:
    error = failure(b'{"parts": [{"type": "image", "uri": "gone.png"}]}')
    assert (error.code, error.stage) == (ErrorCode.NOT_FOUND, Stage.FETCH)


def test_a_document_too_large_to_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DOCUMENT_BYTES", 10)
    assert failure(ASSETS[Modality.DOCUMENT]).code is ErrorCode.LIMIT


class Failing(io.BytesIO):
    """A file that raises once the head was read."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(data)
        self.error = error
        self.reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("first\nsecond"), ErrorCode.INTERNAL),
        (RecursionError("deep"), ErrorCode.INTERNAL),
        (OSError(5, "Input/output error"), ErrorCode.STORAGE),
    ],
)
def test_an_unexpected_error_is_one_line_that_names_its_class(error: Exception, code: ErrorCode) -> None:
    caught = failure(Failing(b"some words", error))
    assert caught.code is code
    assert "\n" not in caught.detail
    if code is not ErrorCode.OUT_OF_MEMORY:
        assert type(error).__name__ in caught.detail


def test_an_interrupt_is_not_an_assets_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Failing(b"some words", KeyboardInterrupt()))


def test_segments_come_as_they_are_asked_for() -> None:
    def pages() -> Iterator[Segment]:
        yield from decode(
            io.BytesIO(pdf_bytes("one", None)), "x.pdf", Recipe(), make_card(), Words(), no_reference
        )[1]

    stream = pages()
    assert next(stream).text == "one"
    with pytest.raises(AssetError, match="page 2"):
        next(stream)
