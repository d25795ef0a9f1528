"""SVG: drawn at the model's size, alone; bombs and broken drawings named."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from operators.decode.image import decode_image, image_part
from operators.parts import PartKind
from schemas.card import ImageInput
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import ImageRecipe, Recipe
from tests.operators.decode.clips import card

NS = "xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"


def drawing(body: str, attributes: str = "width='100' height='50'", prologue: str = "") -> bytes:
    return f"{prologue}<svg {NS} {attributes}>{body}</svg>".encode()


def drawn(data: bytes, recipe: Recipe | None = None, **changes: object) -> np.ndarray:
    (segment,) = decode_image(io.BytesIO(data), recipe or Recipe(), card(**changes))
    return segment.parts[0].array


def fails(data: bytes, recipe: Recipe | None = None) -> AssetError:
    with pytest.raises(AssetError) as caught:
        drawn(data, recipe)
    assert "\n" not in caught.value.detail
    return caught.value


def png(colour: str, width: int = 4, height: int = 4) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def test_a_drawing_is_rgb_over_white_at_the_size_of_the_model() -> None:
    array = drawn(drawing("<rect width='50' height='50' fill='#fa8214'/>"))
    assert (array.shape, array.dtype) == ((64, 64, 3), np.uint8)
    assert array[32, 10].tolist() == [250, 130, 20]
    assert array[32, 50].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("attributes", "wide"),
    [
        ("width='200' height='50'", 4),
        ("viewBox='0 0 20 5'", 4),
        ("width='4in' viewBox='0 0 20 5'", 4),
        ("width='100%' height='100%' viewBox='-5 -5 30 10'", 3),
        ("width='30mm' height='3cm'", 1),
        ("", 2),
        ("viewBox='0 0 0 5'", 2),
    ],
)
def test_the_drawings_own_size_gives_the_aspect(attributes: str, wide: int) -> None:
    array = drawn(
        drawing("<rect width='9' height='9'/>", attributes), image=ImageInput(fit="contain", side=96)
    )
    height, width, _ = array.shape
    assert width / height == pytest.approx(wide, rel=0.05)
    assert height * width <= 96 * 96


def test_a_view_box_of_another_shape_is_letterboxed_unless_it_asks_to_be_stretched() -> None:
    square = "<rect width='10' height='10' fill='red'/>"
    sizes = "width='100' height='50' viewBox='0 0 10 10'"
    kept = drawn(drawing(square, sizes))
    assert kept[32, 32].tolist() == [255, 0, 0]
    assert kept[32, 4].tolist() == [255, 255, 255]
    assert drawn(drawing(square, sizes + " preserveAspectRatio='none'"))[32, 4].tolist() == [255, 0, 0]


def test_a_giant_drawing_costs_no_more_than_the_model_sees() -> None:
    assert drawn(drawing("<rect width='9e8' height='9e8'/>", "width='9e8' height='9e8'")).max() == 0


def test_a_drawing_can_be_a_frame() -> None:
    part = image_part(io.BytesIO(drawing("<rect/>")), Recipe(), card(), PartKind.FRAME)
    assert (part.array.shape, part.at_ms) == ((32, 32, 3), 0)


def test_a_raster_in_the_drawing_is_shown() -> None:
    uri = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    for name in ("href", "xlink:href"):
        array = drawn(drawing(f"<image width='100' height='50' {name}='{uri}'/>"))
        assert array[32, 32].tolist() == [0, 0, 255]


ENTITY = "&#60;image width='100' height='50' hr&#101;f='{path}'/>"


@pytest.mark.parametrize(
    ("body", "prologue"),
    [
        ("<image width='100' height='50' href='{path}'/>", ""),
        ("<image width='100' height='50' xlink:href='file://{path}'/>", ""),
        ("<image width='100' height='50' href='&#47;{path}'/>", ""),
        (
            "<g xmlns:q='http://www.w3.org/1999/xlink'><image width='100' height='50' q:href='{path}'/></g>",
            "",
        ),
        ("&x;", f'<!DOCTYPE svg [<!ENTITY x "{ENTITY}">]>'),
        ("<image width='100' height='50' href='data:image/svg+xml;base64,{nested}'/>", ""),
    ],
)
def test_no_file_of_the_host_is_read(body: str, prologue: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png("red"))
    nested = base64.b64encode(drawing(f"<image width='100' height='50' href='{secret}'/>")).decode()
    filled = [part.replace("{path}", str(secret)).replace("{nested}", nested) for part in (body, prologue)]
    assert drawn(drawing(filled[0], prologue=filled[1])).min() == 255


def test_an_external_entity_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    prologue = f"<!DOCTYPE svg [<!ENTITY x SYSTEM 'file://{tmp_path}/secret.txt'>]>"
    assert fails(drawing("<text y='40'>&x;</text>", prologue=prologue)).code is ErrorCode.CORRUPT


def test_entities_of_a_drawing_program_are_kept() -> None:
    prologue = "<!DOCTYPE svg [<!ENTITY paint '#00ff00'>]>"
    assert drawn(drawing("<rect width='100' height='50' fill='&paint;'/>", prologue=prologue))[
        9, 9
    ].tolist() == [
        0,
        255,
        0,
    ]


def laughs() -> bytes:
    levels = "".join(f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(12))
    return drawing("<text>&a12;</text>", prologue=f"<!DOCTYPE svg [<!ENTITY a0 'haha'>{levels}]>")


def uses() -> bytes:
    twice = "".join(f"<g id='a{i + 1}'><use href='#a{i}'/><use href='#a{i}'/></g>" for i in range(40))
    return drawing(f"<defs><rect id='a0' width='1' height='1'/>{twice}</defs><use href='#a40'/>")


def raster_bomb() -> bytes:
    uri = "data:image/png;base64," + base64.b64encode(png("white", 1200, 1200)).decode()
    return drawing(f"<image href='{uri}'/>" * 2)


@pytest.mark.parametrize(
    "data",
    [laughs(), uses(), raster_bomb(), drawing("<g>" * 3000 + "</g>" * 3000), drawing("<g/>" * 200_001)],
    ids=["laughs", "uses", "raster", "deep", "many"],
)
def test_a_bomb_is_over_the_limit(data: bytes) -> None:
    assert fails(data, Recipe(image=ImageRecipe(max_pixels=2_000_000))).code is ErrorCode.LIMIT


@pytest.mark.parametrize("data", [b"<svg", b"<svg>", b"<svg xmlns='x'><a></b></svg>"])
def test_a_broken_drawing_is_corrupt(data: bytes) -> None:
    assert fails(data).code is ErrorCode.CORRUPT


def test_without_the_renderer_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    error = fails(drawing("<rect/>"))
    assert error.code is ErrorCode.UNSUPPORTED
    assert "embedlake[images]" in error.detail
