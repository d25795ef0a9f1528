"""Text of any encoding, and HTML as its readers see it, in located chunks."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from operators.decode.html import html_text
from operators.decode.sniff import MediaType
from operators.decode.text import BLOCK_BYTES, decode_text, encoding
from operators.parts import PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe, TextRecipe
from tests.operators.decode.pages import Words, make_card

PLAIN = MediaType("text/plain", Modality.TEXT)
HTML = MediaType("text/html", Modality.TEXT)
FRENCH = (
    "Le cœur a ses raisons que la raison ne connaît point. Où étiez-vous l'été dernier ? "
    "Nous avons dîné à la crémerie, près de l'église, où le garçon était très pressé. "
).replace("œ", "oe")


def decoded(data: bytes, media: MediaType = PLAIN, tokens: int = 256, overlap: int = 0) -> list[Segment]:
    recipe = Recipe(text=TextRecipe(chunk_tokens=tokens, overlap_tokens=overlap))
    return list(decode_text(io.BytesIO(data), recipe, make_card(), Words(), media))


def test_a_chunk_is_a_text_part_located_in_the_decoded_text() -> None:
    text = "  Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 30
    segments = decoded(text.encode(), tokens=50, overlap=10)
    assert len(segments) > 5
    for segment in segments:
        assert segment.modality is Modality.TEXT
        assert [p.kind for p in segment.parts] == [PartKind.TEXT]
        assert (
            segment.text
            == segment.parts[0].text
            == text[segment.locator.char_start : segment.locator.char_end]
        )


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_give_the_same_text(codec: str) -> None:
    (segment,) = decoded((FRENCH * 2).encode(codec))
    assert segment.text == (FRENCH * 2).strip()
    assert segment.locator.char_start == 0


def test_a_stray_byte_does_not_change_the_encoding_of_utf8() -> None:
    (segment,) = decoded("Grüße aus Köln, ".encode() + b"\xff" + "schöne Straße".encode())
    assert segment.text == "Grüße aus Köln, \N{REPLACEMENT CHARACTER}schöne Straße"


def test_the_encoding_is_that_of_the_first_byte_beyond_ascii_however_late() -> None:
    data = b"plain ascii line\n" * (BLOCK_BYTES // 16) + (FRENCH * 10).encode("cp1252")
    assert encoding(io.BytesIO(data)) not in ("utf-8", "ascii")
    assert FRENCH.strip()[-40:] in (decoded(data, tokens=1000)[-1].text or "")


def test_a_character_across_two_blocks_is_whole() -> None:
    text = "x" * (BLOCK_BYTES - 1) + "é" + " end"
    segments = decoded(text.encode(), tokens=1000)
    assert segments[-1].locator.char_end == len(text)
    assert "é end" in (segments[-1].text or "")


@pytest.mark.parametrize("data", [b" \n\t ", "\ufeff \n".encode(), b"<html><script>x</script></html>"])
def test_nothing_but_spaces_is_empty(data: bytes) -> None:
    with pytest.raises(AssetError) as caught:
        decoded(data, HTML if b"<" in data else PLAIN)
    assert caught.value.code is ErrorCode.EMPTY


def test_the_models_limit_caps_the_recipes_chunks() -> None:
    recipe = Recipe(text=TextRecipe(chunk_tokens=5_000))
    card = make_card(text_tokens=10)
    words = " ".join(["word"] * 100).encode()
    segments = list(decode_text(io.BytesIO(words), recipe, card, Words(), PLAIN))
    assert max(len(Words().offsets(s.text or "")) for s in segments) <= 10


class _Fours:
    """A cheap counter: a token for every four characters."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        starts = np.arange(0, len(text), 4)
        return np.stack([starts, np.minimum(starts + 4, len(text))], axis=1)


def test_memory_does_not_grow_with_the_file() -> None:
    line = b"2026-01-01T00:00:00Z error request 42 took longer than it should have; retrying\n"

    def peak(mebibytes: int) -> int:
        file = io.BytesIO(line * ((mebibytes << 20) // len(line)))
        tracemalloc.start()
        for _ in decode_text(file, Recipe(text=TextRecipe(chunk_tokens=1000)), make_card(), _Fours(), PLAIN):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(8) < peak(3) * 1.2


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Zażółć gęślą jaźń. W Szczebrzeszynie chrząszcz brzmi w trzcinie. " * 3, "cp1250"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3, "cp1251"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3, "koi8_r"),
        ("Η γρήγορη αλεπού πηδά πάνω από το σκυλί. Καλημέρα κόσμε. " * 3, "cp1253"),
        ("日本語のテキストです。今日は天気がいいですね。東京へ行きました。" * 3, "shift_jis"),
        ("今天天气很好，我们去公园散步。他是一个很好的学生，喜欢读书。" * 3, "gb18030"),
        ("It\u2019s the \u201cfirst\u201d price \u2013 20 \u20ac for a caf\u00e9. " * 3, "cp1252"),
    ],
)
def test_legacy_encodings_are_told_apart(text: str, codec: str) -> None:
    assert text.encode(codec).decode(encoding(io.BytesIO(text.encode(codec)))) == text


PAGE = """<!doctype html><html><head><title> Lakes &amp; rivers </title><style>b{color:red}</style>
<script>var secret = 1</script></head><body><nav><a href=/>Home</a></nav>
<h1>Lake   <b>Constance</b></h1><p>Between three\n countries,<br>in the Alps.</p>
<ul><li>deep<li>cold</ul><table><tr><th>depth<th>area<tr><td>251 m<td>536 km²</table>
<pre>  kept
    as is</pre><noscript>off</noscript><!-- hidden --><button>Buy</button></body></html>"""


def test_html_reads_as_its_readers_see_it() -> None:
    assert html_text(PAGE) == (
        "Lakes & rivers\n\nHome\n\nLake Constance\n\nBetween three countries,\nin the Alps.\n\n"
        "deep\ncold\n\ndepth area\n251 m 536 km²\n\n  kept\n    as is"
    )


def test_html_chunks_are_located_in_the_extracted_text() -> None:
    text = html_text(PAGE)
    for segment in decoded(PAGE.encode(), HTML, tokens=9):
        assert segment.text == text[segment.locator.char_start : segment.locator.char_end]


def test_html_in_a_declared_encoding_is_read_in_it() -> None:
    page = "<html><head><meta charset='iso-8859-2'></head><p>Zażółć gęślą jaźń</p></html>"
    (segment,) = decoded(page.encode("iso-8859-2"), HTML)
    assert segment.text == "Zażółć gęślą jaźń"


def test_nested_and_unclosed_html_is_read() -> None:
    assert html_text("<div>" * 3000 + "deep") == "deep"
    assert html_text("a<p>b<i>c") == "a\n\nbc"
