"""Markdown by its headings, with its pictures where the model takes them."""

from __future__ import annotations

import base64

import pytest

from operators.decode import markdown
from operators.decode.markdown import markdown_readable
from operators.parts import PartKind
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.texts import MARKDOWN, WORDS, decoded, failure, kinds, png

PICTURED = (
    "# Trip\n\nFirst ![the sea](img/a%20b.png) then\n\n> quoted ![](c.png 'title') end\n\nLast words.\n"
)
FILES = {"img/a b.png": png("red"), "c.png": png("blue")}


def test_chunks_keep_to_their_sections_and_carry_their_titles() -> None:
    segments = decoded(MARKDOWN.encode(), "a.md", tokens=100)
    assert [s.locator.char_start for s in segments] == sorted(s.locator.char_start or 0 for s in segments)
    inputs = [segment.parts[0].text or "" for segment in segments]
    assert inputs[0].startswith("# Guide\n\nStart here.\n\n## Sails\n\nThe lighthouse")
    assert inputs[-1] == "Guide\n\n## Ropes\n\nThree of them."
    assert all((s.text or "") == MARKDOWN[s.locator.char_start : s.locator.char_end] for s in segments)


def test_a_later_chunk_of_a_section_has_the_sections_own_title() -> None:
    segments = decoded(f"# Guide\n\n## Sails\n\n{WORDS * 2}".encode(), "a.md", tokens=64)
    assert len(segments) > 2
    assert all((s.parts[0].text or "").startswith("Guide > Sails\n\n") for s in segments[1:])
    bare = decoded(f"# Guide\n\n## Sails\n\n{WORDS * 2}".encode(), "a.md", tokens=64, text={"context": False})
    assert all(s.parts[0].text == s.text for s in bare)


def test_titles_never_take_more_than_a_quarter_of_a_chunk() -> None:
    long = "# " + "very " * 60 + "long\n\n## Short\n\n" + WORDS
    segments = decoded(long.encode(), "a.md", tokens=40)
    assert all(len(Words().offsets(s.parts[0].text or "")) <= 40 for s in segments)
    assert (segments[-1].parts[0].text or "").startswith("Short\n\n"), "the outer title is left out"


def test_code_and_front_matter_are_no_headings() -> None:
    text = "---\ntitle: x\n---\n# One\n\n```sh\n# no heading\n```\n\nTwo\n===\n\n    # nor this\n"
    readable = markdown_readable(text)
    assert [(h.level, h.title, text[h.at :][:3]) for h in readable.headings] == [
        (1, "One", "# O"),
        (1, "Two", "Two"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_places_are_those_of_the_source_whatever_ends_its_lines(end: str) -> None:
    source = PICTURED.replace("\n", end)
    readable = markdown_readable(source)
    assert [
        source[: p.at].endswith(s) for p, s in zip(readable.pictures, (".png)", "'title')"), strict=True)
    ] == [
        True,
        True,
    ]


def test_pictures_stand_where_the_text_shows_them() -> None:
    (segment,) = decoded(PICTURED.encode(), "a.md", files=FILES)
    assert segment.modality is Modality.DOCUMENT
    assert kinds(segment) == ["text", "image", "text", "image", "text"]
    assert segment.parts[1].array[0, 0].tolist() == [255, 0, 0]
    assert segment.parts[3].array[0, 0].tolist() == [0, 0, 255]
    assert segment.text == PICTURED.strip()


def test_a_picture_that_is_not_there_leaves_the_text_with_its_alternative() -> None:
    (segment,) = decoded(PICTURED.encode(), "a.md")
    assert (segment.modality, kinds(segment)) == (Modality.TEXT, ["text"])
    assert "the sea" in (segment.parts[0].text or "")
    broken = {"img/a b.png": png()[:60], "c.png": png("blue")}
    assert kinds(decoded(PICTURED.encode(), "a.md", files=broken)[0]) == ["text", "image", "text"]


def test_a_picture_that_may_be_there_tomorrow_is_an_error() -> None:
    def down(reference: str) -> None:
        raise AssetError(ErrorCode.STORAGE, "timed out")

    assert failure(PICTURED.encode(), "a.md", files=down).code is ErrorCode.STORAGE


def test_a_data_uri_is_a_picture_and_no_text() -> None:
    data = base64.b64encode(png("lime")).decode()
    for source in (
        f"Look: ![leaf](data:image/png;base64,{data}) green",
        f'Look: <img src="data:image/png;base64,{data}">',
    ):
        (segment,) = decoded(source.encode(), "a.md")
        assert PartKind.IMAGE in {p.kind for p in segment.parts}
        assert data[:20] not in (segment.text or "")
        text_alone = decoded(source.encode(), "a.md", card=make_card(Modality.TEXT, image=None))
        assert [kinds(s) for s in text_alone] == [["text"]]


def test_nothing_is_fetched_for_a_model_of_text_or_when_the_recipe_says_no() -> None:
    asked: list[str] = []

    def count(reference: str) -> None:
        asked.append(reference)
        raise AssetError(ErrorCode.NOT_FOUND, reference)

    decoded(PICTURED.encode(), "a.md", files=count, card=make_card(Modality.TEXT, image=None))
    decoded(PICTURED.encode(), "a.md", files=count, text={"images": False})
    assert asked == []
    decoded(b"![x](https://host/a.png) ![y](//host/b.png) ![z](mailto:x)", "a.md", files=count)
    assert asked == []
    decoded(PICTURED.encode() * 3, "a.md", files=count)
    assert asked == ["img/a b.png", "c.png"], "a picture is asked for once"


def test_pictures_beyond_the_models_limit_get_segments_of_their_own() -> None:
    source = "# Album\n\n" + "\n".join(f"![p{i}]({i}.png)" for i in range(5))
    files = {f"{i}.png": png(side=70 + i) for i in range(5)}
    segments = decoded(source.encode(), "a.md", files=files, card=make_card(images=2))
    assert [[k for k in kinds(s) if k == "image"] for s in segments] == [
        ["image"] * 2,
        ["image"] * 2,
        ["image"],
    ]
    assert len({s.locator for s in segments}) == 1
    tight = decoded(source.encode(), "a.md", files=files, card=make_card(tokens=150))
    assert all(kinds(s).count("image") <= 2 for s in tight)
    assert sum(kinds(s).count("image") for s in tight) == 5


def test_decoration_is_left_out() -> None:
    (segment,) = decoded(b"![dot](dot.png) words", "a.md", files={"dot.png": png(side=8)})
    assert kinds(segment) == ["text"]


def test_pictures_beyond_the_recipes_limit_stay_text() -> None:
    (segment,) = decoded(PICTURED.encode(), "a.md", files=FILES, text={"max_images": 1})
    assert kinds(segment) == ["text", "image", "text"]


def test_markdown_too_large_to_parse_is_cut_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "PARSED_BYTES", 100)
    segments = decoded(MARKDOWN.encode(), "a.md")
    assert len(segments) > 1
    assert segments[0].text == segments[0].parts[0].text


def test_html_pictures_are_resolved_like_those_of_markdown() -> None:
    page = b"<!doctype html><p>Before <img src='c.png' alt='a boat'> after <img src='gone.png' alt='a gull'>"
    (segment,) = decoded(page, "a.html", files=FILES)
    assert kinds(segment) == ["text", "image", "text"]
    assert segment.text == "Before a boat after a gull"
    assert segment.parts[0].text == "Before a boat"
