"""The corpus' PDFs: pages of text with a picture, and pages that look scanned and have no text layer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
from PIL import Image
from reportlab.lib.pagesizes import A5
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfgen.canvas import Canvas

MARGIN = 45
SCAN_DPI = 100
SCAN_ANGLE = 0.7
SCAN_NOISE = 6.0


def write_pdf(path: Path, pages: list[dict[str, Any]], images: Path) -> None:
    """One A5 page for each entry: `title`, paragraphs `text`, `image`; `scanned` ones become a picture."""
    canvas = _canvas(path, pages[0]["title"])
    for number, page in enumerate(pages, 1):
        if page.get("scanned"):
            canvas.drawImage(ImageReader(_scan(page, number, images)), 0, 0, *A5)
        else:
            _draw(canvas, page, number, images)
        canvas.showPage()
    canvas.save()


def write_encrypted(path: Path) -> None:
    """A PDF that cannot be opened without its password."""
    canvas = _canvas(path, "Locked", StandardEncryption("open sesame", canPrint=0))
    canvas.drawString(MARGIN, 400, "Nobody reads this without the password.")
    canvas.save()


def _canvas(path: Path | io.BytesIO, title: str, encrypt: StandardEncryption | None = None) -> Canvas:
    target = str(path) if isinstance(path, Path) else path
    canvas = Canvas(target, pagesize=A5, invariant=1, pageCompression=1, encrypt=encrypt)
    canvas.setTitle(title)
    return canvas


def _draw(canvas: Canvas, page: dict[str, Any], number: int, images: Path) -> None:
    width, height = A5
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(MARGIN, height - 60, page["title"])
    with Image.open(images / page["image"]) as opened:
        picture = Image.new("RGB", opened.size, "white")
        rgba = opened.convert("RGBA")
        picture.paste(rgba, (0, 0), rgba)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    scale = min(200 / picture.width, 180 / picture.height)
    size = (picture.width * scale, picture.height * scale)
    canvas.drawImage(ImageReader(encoded), (width - size[0]) / 2, height - 90 - size[1], *size)
    y = height - 310
    canvas.setFont("Helvetica", 12)
    for paragraph in page["text"]:
        for line in simpleSplit(paragraph, "Helvetica", 12, width - 2 * MARGIN):
            canvas.drawString(MARGIN, y, line)
            y -= 16
        y -= 10
    canvas.drawCentredString(width / 2, 30, str(number))


def _scan(page: dict[str, Any], number: int, images: Path) -> io.BytesIO:
    drawn = io.BytesIO()
    canvas = _canvas(drawn, page["title"])
    _draw(canvas, page, number, images)
    canvas.save()
    document = pdfium.PdfDocument(drawn.getvalue())
    gray = document[0].render(scale=SCAN_DPI / 72).to_pil().convert("L")
    document.close()
    turned = gray.rotate(SCAN_ANGLE, Image.Resampling.BICUBIC, fillcolor=245)
    noise = np.random.default_rng(number).normal(0.0, SCAN_NOISE, (turned.height, turned.width))
    noisy = np.clip(np.asarray(turned, np.float32) * 0.96 + noise, 0, 255).astype(np.uint8)
    scanned = io.BytesIO()
    Image.fromarray(noisy).save(scanned, "JPEG", quality=60)
    scanned.seek(0)
    return scanned
