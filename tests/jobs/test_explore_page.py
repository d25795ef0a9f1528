"""The page in a real browser: it shows what a query found, plays it from its second, and asks nobody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("uvicorn", reason="needs embedlake[explore]")
pytest.importorskip("playwright.sync_api", reason="needs embedlake[browser]")

from playwright import sync_api

from operators.model.registry import FAMILIES
from tests.jobs.exploring import MARKUP, Site, make_lake, running

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    model = folder / "hashed-model"
    model.mkdir()
    (model / "embedlake.json").write_text('{"family": "hashed"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
        lake, source = make_lake(folder, str(model))
        with running(lake, source, str(model)) as found:
            yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Chromium refuses its own sandbox to root.
    own = [] if hasattr(os, "geteuid") and os.geteuid() else ["--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=own)
        yield found
        found.close()


@pytest.fixture
def page(site: Site, browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A visitor's first look; whatever the page's scripts complain of fails the test."""
    width = getattr(request, "param", 1280)
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(20_000)
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site.address)
    page.locator("article").first.wait_for()
    yield page
    context.close()
    assert errors == []
    own = (f"http://{site.host}/", f"blob:http://{site.host}/")
    assert [url for url in asked if not url.startswith(own)] == []


def search(page: Any, words: str) -> None:
    page.select_option("#limit", "96")
    page.fill("#words", words)
    page.keyboard.press("Enter")
    page.locator("#status", has_text="best first").wait_for()


def card(page: Any, name: str) -> Any:
    return page.locator("article", has=page.get_by_role("button", name=f"{name},"))


def test_a_query_shows_an_image_a_video_from_its_second_and_a_page_of_a_pdf(page: Any, site: Site) -> None:
    search(page, "harbour boats")
    for name in ("lighthouse.jpg", "harbour-guide.pdf p. 2"):
        shown = card(page, name)
        shown.scroll_into_view_if_needed()
        picture = shown.locator("img")
        picture.wait_for()
        sync_api.expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 100
    where = f"uri = '{site.uri('video/farm-day.mp4')}' AND start_ms > 0"
    hit = min(site.search(where=where).json["hits"], key=lambda found: found["start_ms"])
    start, end = hit["start_ms"] / 1000, hit["end_ms"] / 1000
    film = card(page, hit["label"])
    film.get_by_role("button", name=f"Play farm-day.mp4 from 00:{int(start):02d}").click()
    video = film.locator("video")
    source = f"/media?uri={site.uri('video/farm-day.mp4')}#t={start:g},{end:g}"
    assert unquote(video.get_attribute("src")) == source
    sync_api.expect(video).to_have_js_property("paused", False)
    page.wait_for_function("video => video.currentTime > 0", arg=video.element_handle())
    assert start <= video.evaluate("video => video.currentTime") < end
    assert video.evaluate("video => video.videoWidth") > 0


def test_what_a_corpus_says_is_text_and_never_markup(page: Any) -> None:
    search(page, "bold")
    shown = card(page, "markup.txt")
    assert shown.locator("blockquote").inner_text() == MARKUP
    assert shown.locator("blockquote *").count() == 0


def test_a_wrong_filter_is_explained_under_the_box(page: Any) -> None:
    page.fill("#where", "absent = 1")
    page.keyboard.press("Enter")
    message = page.get_by_role("alert")
    sync_api.expect(message).to_contain_text("absent")
    assert page.locator("#where").get_attribute("aria-invalid") == "true"
    page.fill("#where", "modality = 'audio'")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#message")).to_be_empty()
    sync_api.expect(page.locator("article .tag").first).to_have_text("audio")


def test_the_keyboard_is_enough(page: Any) -> None:
    page.locator("#limit").focus()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.type("harbour")
    page.keyboard.press("Enter")
    page.locator("#status", has_text="best first").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("dialog")).to_be_hidden()


def test_a_chosen_picture_is_the_query_and_finds_itself(page: Any, site: Site) -> None:
    page.set_input_files("#pick", site.uri("images/lighthouse.jpg"))
    page.locator("#status", has_text="best first").wait_for()
    assert page.locator(".file span").inner_text() == "lighthouse.jpg"
    sync_api.expect(page.locator("article h3").first).to_contain_text("lighthouse.jpg")
    page.get_by_role("button", name="Remove lighthouse.jpg").click()
    sync_api.expect(page.locator("#status")).to_have_text("A look into the corpus")


def test_a_file_that_cannot_be_a_query_is_explained(page: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    page.set_input_files("#pick", str(tmp_path / "a.txt"))
    sync_api.expect(page.get_by_role("alert")).to_contain_text("a query takes images, sounds and videos")


def test_a_document_opens_with_its_parts_and_a_chunk_with_its_context(page: Any) -> None:
    search(page, "harbour")
    page.get_by_role("button", name="harbour-postcard.json,").click()
    sync_api.expect(page.locator(".part img")).to_have_count(2)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="long.txt,").nth(1).click()
    sync_api.expect(page.locator(".prose mark")).to_have_count(1)
    assert page.locator(".prose .dim").count() >= 1


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(page: Any) -> None:
    search(page, "harbour")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
