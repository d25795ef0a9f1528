"""What the document decoders' tests share: PDFs, cards, a counter that is easy to predict."""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt

from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts

_SQUARE = ImageInput(side=64)
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Words:
    """A `TextCounter`: one token for each word and for each punctuation mark."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        return np.array([m.span() for m in _TOKEN.finditer(text)], np.int64).reshape(-1, 2)


def make_card(*modalities: Modality, image: ImageInput | None = _SQUARE, **limits: int) -> ModelCard:
    return ModelCard(
        model_id="test-model",
        weights_digest="0",
        family="test",
        modalities=modalities or tuple(Modality),
        widths=(8,),
        image=image,
        frame=ImageInput(side=32),
        sample_rate=8_000,
        limits=Limits(**{"tokens": 2048, "text_tokens": 1024, **limits}),
        token_costs=TokenCosts(image=64, frame=16, audio_per_second=25),
        preprocessing="1",
    )


def pdf_bytes(*pages: str | None, size: str = "0 0 200 400", trailer: str = "") -> bytes:
    """A PDF with a line of text on each page: None leaves the page's object out, "" makes a blue square."""
    first = 4
    kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(pages)))
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    }
    for i, text in enumerate(pages):
        number = first + 2 * i
        if text is None:
            continue
        lines = " ".join(f"({line}) Tj T*" for line in text.split("\n"))
        drawn = f"BT /F 20 Tf 22 TL 10 350 Td {lines} ET" if text else "0 0 1 rg 0 0 100 200 re f"
        objects[number] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[{size}]/Contents {number + 1} 0 R"
            f"/Resources<</Font<</F 3 0 R>>>>>>"
        ).encode()
        objects[number + 1] = b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn.encode("latin-1"))
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    places = {}
    for number, body in objects.items():
        places[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start, count = out.tell(), max(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % count)
    for number in range(1, count):
        place = places.get(number)
        out.write(b"0000000000 65535 f \n" if place is None else b"%010d 00000 n \n" % place)
    out.write(b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (count, trailer.encode(), start))
    return out.getvalue()


def encrypted_pdf() -> bytes:
    """A PDF whose key no empty password gives: its O and U are not derived from one."""
    digest = "00112233445566778899aabbccddeeff" * 2
    encrypt = f"/Encrypt<</Filter/Standard/V 1/R 2/O<{digest}>/U<{digest}>/P -4>>/ID[<{digest[:32]}><{digest[:32]}>]"
    return pdf_bytes("secret", trailer=encrypt)
