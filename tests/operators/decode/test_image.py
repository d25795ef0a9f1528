"""Pictures: right colours, upright, at the model's size; damage and bombs named."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from fractions import Fraction

import av
import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from operators.decode.image import decode_image, fit_pixels, image_part, target_size
from operators.parts import PartKind, Segment
from schemas.card import ImageInput, Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import ImageRecipe, Recipe, VideoRecipe
from tests.operators.decode.clips import broken, card

RECIPE = Recipe()
ORANGE = (250, 130, 20)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    if form == "HEIF":
        # Not registered with Pillow: what decodes here is the plugin that ships.
        pillow_heif.from_pillow(image).save(out, **options)
    else:
        image.save(out, form, **options)
    return out.getvalue()


def decode(data: bytes, recipe: Recipe = RECIPE, **changes: object) -> list[Segment]:
    return list(decode_image(io.BytesIO(data), recipe, card(**changes)))


def pixels(data: bytes, **changes: object) -> np.ndarray:
    (segment,) = decode(data, **changes)
    (part,) = segment.parts
    assert (segment.modality, part.kind, part.array.dtype) == (Modality.IMAGE, PartKind.IMAGE, np.uint8)
    return part.array


def tried(data: bytes) -> list[Segment] | ErrorCode:
    try:
        return decode(data)
    except AssetError as error:
        return error.code


def fails(data: bytes, recipe: Recipe = RECIPE, **changes: object) -> AssetError:
    with pytest.raises(AssetError) as caught:
        decode(data, recipe, **changes)
    assert "\n" not in caught.value.detail
    return caught.value


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """Smooth colours with a little noise: neither flat nor incompressible."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1)
    noise = np.random.default_rng(0).normal(0, 6, base.shape)
    return Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_its_colour_at_the_size_of_the_model(form: str) -> None:
    array = pixels(saved(Image.new("RGB", (200, 100), ORANGE), form))
    assert array.shape == (64, 64, 3)
    assert np.abs(array.astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    upright = Image.new("RGB", (96, 64), "black")
    ImageDraw.Draw(upright).rectangle((0, 0, 40, 20), fill="red")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if form == "TIFF" else {"exif": exif}
    array = pixels(saved(stored, form, **options), image=ImageInput(fit="contain", side=78, multiple=1))
    assert array.shape[1] > array.shape[0]
    assert array[5, 5, 0] > 200
    assert array[-5:, -5:].max() < 50
    assert array[5, -5].max() < 50
    assert array[-5, 5].max() < 50


@pytest.mark.parametrize(
    ("mode", "colour", "form", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("I;16", 40_000, "PNG", (156, 156, 156)),
        ("I;16", 40_000, "TIFF", (156, 156, 156)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("1", 1, "TIFF", (255, 255, 255)),
        ("LA", (0, 51), "PNG", (204, 204, 204)),
        ("RGBA", (255, 0, 0, 0), "PNG", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), "WEBP", (255, 127, 127)),
        ("YCbCr", (128, 128, 128), "TIFF", (128, 128, 128)),
    ],
)
def test_other_colour_modes_become_rgb_over_white(
    mode: str, colour: object, form: str, expected: tuple[int, ...]
) -> None:
    array = pixels(saved(Image.new(mode, (80, 60), colour), form))
    assert np.abs(array.astype(int) - expected).max() <= 3


def test_a_palette_with_a_transparent_colour_shows_white_there() -> None:
    image = Image.new("P", (80, 60), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.paste(0, (0, 0, 40, 60))
    array = pixels(saved(image, "PNG", transparency=1))
    assert array[32, 10].tolist() == [0, 0, 255]
    assert array[32, 60].tolist() == [255, 255, 255]


def test_float_rasters_are_stretched_between_their_extremes() -> None:
    ramp = Image.fromarray(np.linspace(-3, 9, 64 * 64, dtype=np.float32).reshape(64, 64))
    array = pixels(saved(ramp, "TIFF"))
    assert array[0, 0].tolist() == [0, 0, 0]
    assert array[-1, -1].tolist() == [255, 255, 255]


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.sampled_from([1, 16, 48]))
def test_contain_fills_but_never_exceeds_the_area(width: int, height: int, multiple: int) -> None:
    want = ImageInput(fit="contain", side=768, multiple=multiple)
    columns, rows = target_size(width, height, want)
    assert columns % multiple == rows % multiple == 0
    assert 0 < columns * rows <= 768**2
    if 1 / 4 <= width / height <= 4:
        assert columns * rows > 0.75 * 768**2
        assert abs(columns - rows * width / height) <= 5 * multiple


def test_draft_is_a_choice_of_the_recipe_and_close_to_the_full_decode() -> None:
    data = saved(photo(1600, 1200), "JPEG", quality=90)
    fast = pixels(data).astype(float)
    (exact,) = decode(data, Recipe(image=ImageRecipe(draft=False)))
    difference = fast - exact.parts[0].array
    assert np.abs(difference).max() > 0
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 38
    reference = Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(exact.parts[0].array - np.asarray(reference, float)).max() <= 1


def test_each_page_of_a_tiff_is_a_segment_and_thumbnails_are_not() -> None:
    pages = [Image.new("RGB", (40, 30), c) for c in ("red", "lime", "blue")]
    segments = decode(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [s.locator.page for s in segments] == [1, 2, 3]
    assert [s.parts[0].array[9, 9].tolist() for s in segments] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    with_thumbnail = decode(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [s.locator.page for s in with_thumbnail] == [1, 3]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_video_on_its_own_clock(form: str) -> None:
    frames = [Image.new("RGB", (40, 30), (0, 40 * i, 255 - 40 * i)) for i in range(6)]
    data = saved(
        frames[0],
        form,
        save_all=True,
        append_images=frames[1:],
        duration=500,
        **({"lossless": True} if form == "WEBP" else {}),
    )
    (segment,) = decode(data)
    assert segment.modality is Modality.VIDEO
    assert (segment.locator.start_ms, segment.locator.end_ms) == (0, 3000)
    assert [p.at_ms for p in segment.parts] == [0, 1000, 2000]
    seen = [p.array[9, 9].tolist() for p in segment.parts]
    assert np.abs(np.array(seen) - [[0, 0, 255], [0, 80, 175], [0, 160, 95]]).max() <= 4
    finer = decode(data, Recipe(video=VideoRecipe(fps=2)))
    assert [p.at_ms for s in finer for p in s.parts] == [0, 500, 1000, 1500, 2000, 2500]


def test_a_model_without_video_sees_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (40, 30), c) for c in ("red", "lime")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=900)
    assert pixels(data, modalities=(Modality.IMAGE,))[9, 9].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_picture_is_corrupt(form: str) -> None:
    data = saved(photo(), form)
    assert fails(data[: len(data) // 2]).code is ErrorCode.CORRUPT


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bits_give_a_picture_or_corrupt_and_nothing_else(form: str) -> None:
    for seed in range(8):
        result = tried(broken(saved(photo(200, 150), form), 20, seed))
        assert result in (ErrorCode.CORRUPT, ErrorCode.LIMIT) or result[0].parts[0].array.shape == (64, 64, 3)


def test_bad_inputs_are_named() -> None:
    assert fails(b"").code is ErrorCode.EMPTY
    assert fails(b"\x00garbage\xff" * 99).code is ErrorCode.CORRUPT
    assert fails(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").code is ErrorCode.CORRUPT
    assert fails(saved(photo(), "PNG"), modalities=(Modality.TEXT,)).code is ErrorCode.MODALITY


@pytest.mark.parametrize("form", [*FORMATS, "PPM"])
def test_more_pixels_than_the_recipe_allows_are_refused_before_decoding(form: str) -> None:
    before = Image.MAX_IMAGE_PIXELS
    data = saved(Image.new("RGB", (300, 200)), form)
    for allowed in (59_999, 20_000):
        assert fails(data, Recipe(image=ImageRecipe(max_pixels=allowed))).code is ErrorCode.LIMIT
    assert len(decode(data, Recipe(image=ImageRecipe(max_pixels=60_000)))) == 1
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_recipe_may_allow_more_than_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(saved(Image.new("L", (300, 200)), "PNG")).shape == (64, 64, 3)


def test_a_picture_can_be_a_frame_or_a_part() -> None:
    data = saved(Image.new("RGB", (80, 60), ORANGE), "PNG")
    assert image_part(io.BytesIO(data), RECIPE, card()).array.shape == (64, 64, 3)
    frame = image_part(io.BytesIO(data), RECIPE, card(), PartKind.FRAME)
    assert (frame.kind, frame.array.shape) == (PartKind.FRAME, (32, 32, 3))
    with pytest.raises(AssetError):
        image_part(io.BytesIO(data), RECIPE, card(image=None))


def test_fit_pixels_takes_a_picture_in_memory() -> None:
    array = fit_pixels(Image.new("RGB", (80, 60), ORANGE), ImageInput(fit="contain", side=48, multiple=16))
    assert array.shape == (32, 48, 3)
    assert array.flags.c_contiguous
    assert array[0, 0].tolist() == list(ORANGE)


def deep_png(colour: tuple[int, int, int]) -> bytes:
    """16 bits a channel, which Pillow does not write."""
    array = np.tile(np.array(colour, np.uint16), (30, 40, 1)) * 257
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 40, 30, "rgb48be", Fraction(1)
    frame = av.VideoFrame.from_ndarray(array, "rgb48le")
    return b"".join(bytes(p) for p in [*codec.encode(frame.reformat(format="rgb48be")), *codec.encode(None)])


def test_sixteen_bits_a_channel_become_eight() -> None:
    data = deep_png(ORANGE)
    assert data[24] == 16, "bits of depth in the header"
    assert np.abs(pixels(data)[9, 9].astype(int) - ORANGE).max() <= 1


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_photograph_of_any_colours_is_turned_upright(mode: str, draft: bool) -> None:
    upright = Image.new("RGB", (1200, 800), "white")
    upright.paste((200, 30, 30), (0, 0, 600, 400))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90).convert(mode)
    data = saved(stored, "JPEG", progressive=True, exif=exif, quality=92)
    (segment,) = decode(data, Recipe(image=ImageRecipe(draft=draft)))
    array = segment.parts[0].array.astype(int)
    assert np.abs(array[10, 10] - np.asarray(upright.convert(mode).convert("RGB"))[10, 10]).max() <= 3
    assert array[10, 50].min() >= 250
    assert array[50, 10].min() >= 250


def test_a_fifty_megapixel_photograph_never_exists_whole() -> None:
    out = io.BytesIO()
    Image.new("L", (8660, 5774), 90).save(out, "JPEG", quality=85)
    code = (
        "import io,sys;from operators.decode.image import decode_image;from schemas.recipe import Recipe;"
        "from tests.operators.decode.clips import card;from tests.operators.decode.memory import peak_bytes;"
        "data=sys.stdin.buffer.read();before=peak_bytes();"
        "assert list(decode_image(io.BytesIO(data),Recipe(),card()))[0].parts[0].array.mean()==90;"
        "print(peak_bytes()-before)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=out.getvalue(), capture_output=True, check=True)
    assert int(done.stdout) < 20_000_000, "50 MP of one byte are 50,000,000"


def test_the_icon_with_the_most_pixels_is_taken() -> None:
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    image.paste((250, 130, 20, 255), (0, 0, 64, 128))
    array = pixels(saved(image, "ICO", sizes=[(16, 16), (128, 128)]))
    assert np.abs(array[32, 10].astype(int) - ORANGE).max() <= 1
    assert array[32, 50].tolist() == [255, 255, 255]


def test_a_heic_with_transparency_or_ten_bits_is_read() -> None:
    clear = Image.new("RGBA", (80, 60), (255, 0, 0, 0))
    assert pixels(saved(clear, "HEIF", quality=-1))[9, 9].min() >= 253
    grey = pillow_heif.from_bytes("I;16", (80, 60), np.full((60, 80), 40_000, np.uint16).tobytes())
    out = io.BytesIO()
    grey.save(out, quality=-1)
    assert np.abs(pixels(out.getvalue())[9, 9].astype(int) - 156).max() <= 2


def test_without_the_plugin_a_heic_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("RGB", (80, 60), ORANGE), "HEIF")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    for plugin in ("pillow_heif", "pi_heif"):
        monkeypatch.setitem(sys.modules, plugin, None)
    error = fails(data)
    assert error.code is ErrorCode.UNSUPPORTED
    assert "embedlake[images]" in error.detail
