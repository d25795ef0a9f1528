"""What the document decoders' tests share: PDFs, cards, a counter that is easy to predict."""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts

_SQUARE = ImageInput(side=64)
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Words:
    """A `TextCounter`: one token for each word and for each punctuation mark."""

    splits_at_spaces = True

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        return np.array([m.span() for m in _TOKEN.finditer(text)], np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        return len(self.offsets(text))


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


def placed_pdf(
    *lines: tuple[float, float, str],
    size: str = "0 0 600 800",
    matrix: str = "1 0 0 1",
    page: str = "",
    more: str = "",
) -> bytes:
    """One page with lines of 10 points at `(x, y)`, drawn in the order given; the rest is raw PDF.

    `matrix` turns the lines, `page` goes into the page's dictionary, `more` is objects from number 10 on.
    """
    drawn = "\n".join(f"BT /F 10 Tf {matrix} {x} {y} Tm ({text}) Tj ET" for x, y, text in lines)
    return f"""%PDF-1.7
1 0 obj<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[10 0 R 11 0 R 12 0 R 13 0 R]>>>>endobj
2 0 obj<</Type/Pages/Kids[4 0 R]/Count 1>>endobj
3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
4 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{size}]/Contents 5 0 R/Resources<</Font<</F 3 0 R>>>>{page}>>endobj
5 0 obj<</Length {len(drawn)}>>stream
{drawn}
endstream endobj
{more}
trailer<</Root 1 0 R>>""".encode("latin-1")


def scanned_pdf(pages: int, side: int = 1200, seed: int = 0) -> bytes:
    """Scans with their text beside them: on each page a JPEG of its own, `side` x `side`, and 3,000 characters."""
    draw = np.random.default_rng(seed)
    words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit"]
    first, out, places = 4, io.BytesIO(b"%PDF-1.7\n"), {}
    out.seek(0, io.SEEK_END)

    def put(number: int, body: bytes) -> None:
        places[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))

    put(1, b"<</Type/Catalog/Pages 2 0 R>>")
    put(
        2,
        f"<</Type/Pages/Count {pages}/Kids[{' '.join(f'{first + 3 * n} 0 R' for n in range(pages))}]>>".encode(),
    )
    put(3, b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for n in range(first, first + 3 * pages, 3):
        picture = io.BytesIO()
        grain = Image.fromarray(draw.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        grain.resize((side, side)).save(picture, "JPEG", quality=70)
        lines = "\n".join(f"({' '.join(draw.choice(words, 10))}) Tj T*" for _ in range(50))
        drawn = f"q 500 0 0 500 50 250 cm /I Do Q BT /F 8 Tf 9 TL 50 700 Td {lines} ET"
        resources = f"<</Font<</F 3 0 R>>/XObject<</I {n + 2} 0 R>>>>"
        put(
            n,
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {n + 1} 0 R/Resources{resources}>>".encode(),
        )
        put(n + 1, b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn.encode()))
        head = (
            f"<</Type/XObject/Subtype/Image/Width {side}/Height {side}/ColorSpace/DeviceRGB/BitsPerComponent 8"
            f"/Filter/DCTDecode/Length {picture.tell()}>>stream\n"
        )
        put(n + 2, head.encode() + picture.getvalue() + b"\nendstream")
    start, count = out.tell(), max(places) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % count)
    for number in range(1, count):
        out.write(b"%010d 00000 n \n" % places[number])
    out.write(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (count, start))
    return out.getvalue()


def encrypted_pdf() -> bytes:
    """A PDF whose key no empty password gives: its O and U are not derived from one."""
    digest = "00112233445566778899aabbccddeeff" * 2
    encrypt = f"/Encrypt<</Filter/Standard/V 1/R 2/O<{digest}>/U<{digest}>/P -4>>/ID[<{digest[:32]}><{digest[:32]}>]"
    return pdf_bytes("secret", trailer=encrypt)
