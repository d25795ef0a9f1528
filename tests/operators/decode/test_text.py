"""Text of any encoding, and HTML as its readers see it, in located chunks."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from operators.decode.asset import Asset
from operators.decode.html import decode_html, html_text
from operators.decode.sniff import MediaType
from operators.decode.text import BLOCK_BYTES, decode_text, encoding
from operators.model.contract import TextCounter
from operators.parts import PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe, TextRecipe
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.texts import opener

PLAIN = MediaType("text/plain", Modality.TEXT)
HTML = MediaType("text/html", Modality.TEXT)
FRENCH = (
    "Le cœur a ses raisons que la raison ne connaît point. Où étiez-vous l'été dernier ? "
    "Nous avons dîné à la crémerie, près de l'église, où le garçon était très pressé. "
).replace("œ", "oe")


def asset(
    data: bytes,
    media: MediaType = PLAIN,
    tokens: int = 256,
    overlap: int = 0,
    card: ModelCard | None = None,
    counter: TextCounter | None = None,
) -> Asset:
    recipe = Recipe(text=TextRecipe(chunk_tokens=tokens, overlap_tokens=overlap))
    return Asset(io.BytesIO(data), "x", media, recipe, card or make_card(), counter or Words(), opener({}))


def decoded(data: bytes, media: MediaType = PLAIN, tokens: int = 256, overlap: int = 0) -> list[Segment]:
    return list((decode_html if media is HTML else decode_text)(asset(data, media, tokens, overlap)))


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


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
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
    words = " ".join(["word"] * 100).encode()
    segments = list(decode_text(asset(words, tokens=5_000, card=make_card(text_tokens=10))))
    assert max(len(Words().offsets(s.text or "")) for s in segments) <= 10


class _Fours:
    """A cheap counter: a token for every four characters."""

    splits_at_spaces = False

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        starts = np.arange(0, len(text), 4)
        return np.stack([starts, np.minimum(starts + 4, len(text))], axis=1)

    def count(self, text: str) -> int:
        return len(self.offsets(text))


def test_memory_does_not_grow_with_the_file() -> None:
    line = b"2026-01-01T00:00:00Z error request 42 took longer than it should have; retrying\n"

    def peak(mebibytes: int) -> int:
        log = asset(line * ((mebibytes << 20) // len(line)), tokens=1000, counter=_Fours())
        tracemalloc.start()
        for _ in decode_text(log):
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


def test_utf16_without_a_mark_is_told_from_other_bytes() -> None:
    for text in ("plain words", "Grüße aus Köln, 東京 and Москва"):
        for codec in ("utf-16-le", "utf-16-be"):
            assert encoding(io.BytesIO((text * 3).encode(codec))) == codec
    assert encoding(io.BytesIO(b"a log with one \0 in it " * 20)) == "utf-8"


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


def test_html_is_cut_at_its_headings_and_its_chunks_say_what_they_are_of() -> None:
    body = "<h2>Depth</h2><p>" + "deep water " * 20 + "<h2>Fish</h2><p>" + "char and trout " * 12
    segments = decoded(f"<!doctype html><h1>Lake</h1>{body}".encode(), HTML, tokens=50)
    texts = [segment.parts[0].text or "" for segment in segments]
    assert [t.partition("\n")[0] for t in texts] == ["Lake", "Lake"]
    assert "deep water" in texts[0]
    assert texts[1].startswith("Lake\n\nFish\n\nchar and trout")
    assert (segments[1].text or "").startswith("Fish"), "what people read is the chunk itself"


def test_a_page_with_an_unknown_declared_encoding_is_read_by_its_bytes() -> None:
    (segment,) = decoded(b"<html><meta charset=no-such><p>d\xe9j\xe0 vu, d\xe9j\xe0 vu", HTML)
    assert "déjà vu" in (segment.text or "")
