"""The page's server: it shows what the lake holds, gives away nothing else, and says what is wrong in one line."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("uvicorn", reason="needs embedlake[explore]")
pytest.importorskip("starlette", reason="needs embedlake[explore]")

from jobs.explore.model import BackgroundModel, NotReadyError
from jobs.explore.routes import byte_range
from operators.model.registry import FAMILIES, resolve
from pipelines.query import Searcher
from schemas.errors import ExitCode, ModelError
from tests.jobs.conftest import Command
from tests.jobs.exploring import MARKUP, Site, make_lake, running
from tests.lakes import embed_here

REPO = Path(__file__).resolve().parents[2]
ANY = b"\0\1\2\3" * 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("explore") / "hashed-model"
    folder.mkdir()
    (folder / "embedlake.json").write_text('{"family": "hashed"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
        yield str(folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, model: str) -> Iterator[Site]:
    lake, source = make_lake(tmp_path_factory.mktemp("media"), model)
    with running(lake, source, model) as found:
        yield found


def words(text: str) -> list[dict[str, str]]:
    return [{"kind": "text", "value": text}]


def card(site: Site, name: str, **asked: object) -> dict[str, object]:
    hits = site.search(parts=words("harbour"), limit=200, **asked).json["hits"]
    return next(hit for hit in hits if hit["uri"].endswith(name))


def test_a_query_finds_segments_with_all_that_their_cards_need(site: Site) -> None:
    hits = site.search(parts=words("harbour boats"), limit=200).json["hits"]
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    by = {h["label"].split(" ")[0]: h for h in hits}
    video = next(h for h in hits if h["name"] == "farm-day.mp4" and h["start_ms"])
    assert video["label"].startswith("farm-day.mp4 @ 00:")
    assert (video["player"], video["picture"]["uri"]) == ("video", site.uri("video/farm-day.mp4"))
    assert video["start_ms"] < video["picture"]["at_ms"] < video["end_ms"]
    pages = [h for h in hits if h["name"] == "harbour-guide.pdf"]
    assert {(h["label"], h["picture"]["page"]) for h in pages} >= {
        ("harbour-guide.pdf p. 1", 1),
        ("harbour-guide.pdf p. 2", 2),
    }
    assert by["lighthouse-keeper.mp3"]["player"] == "audio"
    assert by["owl.png"]["within"] == "box.zip!/"
    assert by["markup.txt"]["text"] == MARKUP


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("images/lighthouse.jpg", {}),
        ("images/turning-sun.gif", {}),
        ("images/evil.svg", {}),
        ("video/farm-day.mp4", {"at_ms": 12_000}),
        ("pdf/harbour-guide.pdf", {"page": 2}),
        ("box.zip!/birds/owl.png", {}),
    ],
)
def test_what_can_be_seen_has_a_picture_at_both_sizes(site: Site, name: str, place: dict[str, int]) -> None:
    for side in (480, 1400):
        answer = site.get("/picture", uri=site.uri(name), side=side, **place)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        image = Image.open(io.BytesIO(answer.body))
        assert 0.9 * side**2 < image.width * image.height <= side**2


def test_a_video_s_picture_is_of_the_moment_that_was_asked_for(site: Site) -> None:
    def at(ms: int) -> bytes:
        return site.get("/picture", uri=site.uri("video/farm-day.mp4"), at_ms=ms).body

    assert at(1_000) == at(1_000)
    assert len({at(1_000), at(9_000), at(17_000)}) == 3


def test_what_shows_nothing_says_so(site: Site) -> None:
    for name, status, word in (
        ("text/long.txt", 404, "shows nothing"),
        ("pdf/harbour-guide.pdf", 422, "page 999"),
    ):
        answer = site.get("/picture", uri=site.uri(name), page=999)
        assert (answer.status, word in answer.json["error"]) == (status, True)
    assert site.get("/picture", uri=site.uri("images/whale.png"), side=9_999).status == 400
    assert site.get("/picture", uri=site.uri("images/whale.png"), page="-1").status == 400


@pytest.mark.parametrize("name", ["video/farm-day.mp4", "audio/lighthouse-keeper.mp3", "box.zip!/dog.mp3"])
def test_players_get_the_ranges_that_they_ask_for(site: Site, name: str) -> None:
    whole = site.get("/media", uri=site.uri(name))
    assert whole.status == 200
    if "!/" not in name:
        assert whole.body == Path(site.uri(name)).read_bytes()
    size, path = len(whole.body), f"/media?uri={site.uri(name)}"
    for asked, start, stop in (
        ("bytes=0-", 0, size),
        ("bytes=100-299", 100, 300),
        ("bytes=-50", size - 50, size),
        (f"bytes={size - 1}-{size + 99}", size - 1, size),
    ):
        part = site.ask("GET", path, Range=asked)
        assert (part.status, part.body) == (206, whole.body[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = site.ask("GET", path, Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    head = site.ask("HEAD", path)
    assert (head.status, head.body, int(head.headers["content-length"])) == (200, b"", size)


@given(
    size=st.integers(0, 1000), first=st.none() | st.integers(0, 1200), last=st.none() | st.integers(0, 1200)
)
def test_a_range_never_leaves_the_object(size: int, first: int | None, last: int | None) -> None:
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    found = byte_range(asked, size)
    if first is None and last is None:
        assert found is None
        return
    assert found is not None
    start, stop = found
    assert start >= 0
    assert stop <= size
    if first is not None and start < stop:
        assert start == first


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "../../etc/passwd", "{source}/../in/images/whale.png", "file:///etc/passwd", "",
            "{source}/images/lighthouse.jpg/../whale.png", "' OR '1'='1", "{source}", "{lake}/catalog"]
)  # fmt: skip
@pytest.mark.parametrize("route", ["/media", "/download", "/picture", "/api/parts"])
def test_what_the_lake_does_not_list_is_not_served(site: Site, route: str, uri: str) -> None:
    answer = site.get(route, uri=uri.format(source=site.source, lake=site.lake))
    assert (answer.status, answer.json) == (404, {"error": "no such asset in the lake"})


@pytest.mark.parametrize("name", ["..%2froutes.py", "../routes.py", "%2e%2e/serve.py", "absent.js"])
def test_only_the_page_s_own_files_are_static(site: Site, name: str) -> None:
    assert site.get(f"/static/{name}").status == 404
    assert site.get("/static/page.js").status == 200


def test_an_asset_that_became_a_link_out_of_its_source_is_not_followed(tmp_path: Path, model: str) -> None:
    lake, source = make_lake(tmp_path, model)
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(Path(source, "audio/lighthouse-keeper.mp3").read_bytes())
    victim = Path(source, "audio/lighthouse-keeper.mp3")
    changed = Path(source, "video/farm-day.mp4")
    with running(lake, source, model) as site:
        victim.unlink()
        victim.symlink_to(secret)
        answer = site.get("/media", uri=str(victim))
        assert (answer.status, "outside" in answer.json["error"]) == (403, True)
        os.utime(changed)
        assert site.get("/media", uri=str(changed)).status == 410
        assert site.get("/picture", uri=str(changed)).status == 410
        Path(source, "images/whale.png").unlink()
        assert site.get("/download", uri=site.uri("images/whale.png")).status == 404


def test_active_content_is_only_ever_saved(site: Site) -> None:
    for name in ("images/evil.svg", "text/birthday-cake.html", "pdf/harbour-guide.pdf"):
        assert site.get("/media", uri=site.uri(name)).status == 404
        saved = site.get("/download", uri=site.uri(name))
        assert saved.body == Path(site.uri(name)).read_bytes()
        assert saved.headers["content-type"] == "application/octet-stream"
        assert saved.headers["content-disposition"].startswith("attachment;")
        assert saved.headers["content-security-policy"].startswith("sandbox")
        assert saved.headers["x-content-type-options"] == "nosniff"


def test_the_page_runs_its_own_script_alone(site: Site) -> None:
    for path in ("/", "/static/page.js", "/api/lake"):
        headers = site.get(path).headers
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    for word in (b"http://", b"https://", b"innerHTML", b"onclick="):
        assert word not in site.get("/").body
    assert b"innerHTML" not in site.get("/static/page.js").body + site.get("/static/cards.js").body


def test_strangers_reach_nothing(site: Site) -> None:
    for path in ("/", "/api/lake", "/static/page.js", f"/media?uri={site.uri('video/farm-day.mp4')}"):
        assert site.get(path, _key=False).status == 403
    assert site.get("/?key=wrong", _key=False).status == 403
    assert site.ask("GET", "/api/lake", Cookie=site.cookie[:-1] + "x", key=False).status == 403


def test_a_rebound_name_or_a_foreign_page_is_refused_with_the_key(site: Site) -> None:
    port = site.host.rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1"):
        assert site.ask("GET", "/api/lake", Host=host).status == 421
    assert site.ask("GET", "/api/lake", Host=f"localhost:{port}").status == 200
    body = b'{"parts": []}'
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert site.ask("POST", "/api/search", body, **headers).status == 403
    assert site.ask("POST", "/api/search", body, Origin=f"http://{site.host}").status == 200


@pytest.mark.parametrize("odd", ['other={"a": 1}', "a=b c", "t=\xe9", "a/b=1"])
def test_another_program_s_cookie_is_none_of_its_business(site: Site, odd: str) -> None:
    name, _, key = site.cookie.partition("=")
    assert site.ask("GET", "/api/lake", key=False, Cookie=f"{odd}; {name}={key}").status == 200
    assert site.ask("GET", "/api/lake", key=False, Cookie=odd).status == 403


def test_a_server_on_every_address_answers_to_any_name_but_only_with_the_key(site: Site, model: str) -> None:
    with running(site.lake, site.source, model, host="0.0.0.0") as wide:
        port = wide.host.rsplit(":", 1)[1]
        named = f"somewhere.example:{port}"
        assert wide.ask("GET", "/api/lake", Host=named).status == 200
        assert wide.ask("GET", "/api/lake", key=False, Host=named).status == 403
        body = b'{"parts": []}'
        assert wide.ask("POST", "/api/search", body, Host=named, Origin=f"http://{named}").status == 200
        assert wide.ask("POST", "/api/search", body, Host=named, Origin="http://evil.example").status == 403


def test_a_model_that_cannot_be_loaded_leaves_the_page_and_says_why() -> None:
    def load() -> Searcher:
        raise ModelError("the weights are damaged")

    model = BackgroundModel(load)
    with pytest.raises(NotReadyError, match="being loaded"):
        model.searcher()
    model.start()
    while model.state == "loading":
        time.sleep(0.01)
    assert (model.state, model.detail) == ("failed", "the weights are damaged")
    with pytest.raises(NotReadyError, match="damaged"):
        model.searcher()


def test_files_are_parts_of_a_query_and_find_themselves(site: Site) -> None:
    for name, kind in (("images/lighthouse.jpg", "image"), ("audio/lighthouse-keeper.mp3", "audio"),
                       ("video/farm-day.mp4", "video")):  # fmt: skip
        made = site.upload(name.split("/")[1], Path(site.uri(name)).read_bytes()).json
        assert made["kind"] == kind
        hits = site.search(parts=[{"kind": kind, "value": made["id"]}], modality=kind).json["hits"]
        assert hits[0]["uri"] == site.uri(name)
        assert hits[0]["score"] > 0.95
    fused = site.search(parts=[{"kind": kind, "value": made["id"]}, *words("harbour")])
    assert fused.status == 200


def test_files_that_cannot_be_a_query_are_refused(site: Site) -> None:
    for name, body, word in (
        ("a.pdf", Path(site.uri("pdf/harbour-guide.pdf")).read_bytes(), "a query takes images"),
        ("a.bin", ANY, "a query takes images"),
        ("a.png", b"", "empty"),
    ):
        answer = site.upload(name, body)
        assert (answer.status, word in answer.json["error"]) == (400, True)
    broken = site.upload("a.jpg", b"\xff\xd8\xff\xe0" + ANY).json
    answer = site.search(parts=[{"kind": "image", "value": broken["id"]}])
    assert (answer.status, "cannot embed the query" in answer.json["error"]) == (400, True)
    answer = site.search(parts=[{"kind": "image", "value": "/etc/passwd"}])
    assert (answer.status, "not here any more" in answer.json["error"]) == (400, True)


def test_too_large_a_file_is_refused_before_it_is_there(site: Site) -> None:
    with socket.create_connection(site.host.split(":")) as raw:
        head = f"POST /api/uploads HTTP/1.1\r\nHost: {site.host}\r\nCookie: {site.cookie}\r\n"
        raw.sendall(f"{head}Content-Length: {10 << 30}\r\n\r\n".encode())
        assert b" 413 " in raw.recv(200)


def test_a_wrong_filter_is_explained_without_a_flag_s_name(site: Site) -> None:
    for parts, where in product(
        (words("harbour"), []), ("absent = 1", "absent +", "cast(absent as int) = 1")
    ):
        answer = site.search(parts=parts, where=where)
        assert answer.status == 400
        assert "absent" in answer.json["error"]
        assert "--where" not in answer.json["error"]
    assert site.search(parts=words("x"), width=7).status == 400
    assert site.search(parts=words("x"), limit=0).json["error"].startswith("limit: ")
    assert site.search(parts=words("x"), modality="smell").status == 400
    assert site.search(nonsense=1).status == 400


def test_filters_and_widths_narrow_a_search(site: Site) -> None:
    assert {h["modality"] for h in site.search(parts=words("harbour"), modality="page").json["hits"]} == {
        "page"
    }
    found = site.search(parts=words("harbour"), where="page = 2", width=8).json["hits"]
    assert {h["where"] for h in found} == {"p. 2"}
    looked = site.search(modality="audio").json["hits"]
    assert {h["modality"] for h in looked} == {"audio"}
    assert len(site.search(limit=5).json["hits"]) == 5


def test_more_like_a_segment_has_itself_among_the_first(site: Site) -> None:
    one = card(site, "whale.png")
    hits = site.search(like=one["id"]).json["hits"]
    assert one["id"] in [hit["id"] for hit in hits if hit["score"] > 0.9999]
    assert hits[-1]["score"] < 0.9
    assert site.search(like="' OR true OR '").status == 400


def test_a_chunk_comes_with_the_text_around_it_once(site: Site) -> None:
    uri = site.uri("text/long.txt")
    chunks = sorted(site.search(where=f"uri = '{uri}'").json["hits"], key=lambda hit: hit["ordinal"])
    assert len(chunks) > 2
    around = site.get("/api/around", uri=uri, ordinal=1).json
    joined = f"{around['before']} {chunks[1]['text']} {around['after']}".split()
    start = joined[0].removeprefix("word")
    assert joined == [f"word{n}" for n in range(int(start), int(start) + len(joined))]
    assert site.get("/api/around", uri=uri, ordinal=99).status == 400


def test_a_document_shows_its_parts_with_their_pictures(site: Site) -> None:
    parts = site.get("/api/parts", uri=site.uri("documents/harbour-postcard.json")).json["parts"]
    assert [part["type"] for part in parts] == ["title", "text", "image", "text", "image"]
    assert parts[2]["picture"]["uri"] == site.uri("images/sailboats-at-sunset.jpg")
    assert site.get("/api/parts", uri=site.uri("text/long.txt")).json == {"parts": []}


def test_the_lake_stays_as_it_is(site: Site) -> None:
    def state() -> set[tuple[str, int]]:
        return {(str(f), f.stat().st_mtime_ns) for f in Path(site.lake).rglob("*")}

    before = state()
    site.search(parts=words("harbour"))
    site.get("/picture", uri=site.uri("images/whale.png"))
    for method in ("PUT", "DELETE", "PATCH"):
        assert site.ask(method, "/api/search").status == 405
    assert state() == before


def test_a_taken_port_is_one_line(embedlake: Command, site: Site, model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = embedlake("explore", "--lake", site.lake, "--model", model, "--port", str(port), "--no-open")
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert said.err.strip().endswith(f"port {port} of 127.0.0.1 is taken: choose another with --port, or 0")


def test_without_the_extra_the_command_names_it(
    embedlake: Command, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "jobs.explore.serve")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = embedlake("explore", "--lake", site.lake, "--no-open")
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert said.err == "embedlake: uvicorn is not installed: pip install 'embedlake[explore]'\n"


def test_another_model_is_refused_before_anything_is_served(
    embedlake: Command, site: Site, model: str, tmp_path: Path
) -> None:
    other = tmp_path / "other-model"
    other.mkdir()
    (other / "embedlake.json").write_text('{"family": "hashed"}')
    said = embedlake("explore", "--lake", site.lake, "--model", str(other), "--no-open")
    assert (said.code, said.out) == (ExitCode.MODEL, "")
    assert "vectors of two models cannot be compared" in said.err


def test_ctrl_c_ends_with_the_documented_code(site: Site, model: str, tmp_path: Path) -> None:
    start = (
        "import sys; from operators.model.registry import FAMILIES; from jobs.__main__ import main\n"
        "FAMILIES['hashed'] = 'tests.models.hashed:HashSpec'; main()"
    )
    command = [sys.executable, "-c", start, "explore", "--lake", site.lake, "--model", model, "--no-open"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPO}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        assert " is at http://127.0.0.1:" in process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (ExitCode.INTERRUPTED, "embedlake: interrupted\n")


def test_the_map_s_data_are_the_lake_s_and_its_page_is_the_extra_s(tmp_path: Path, model: str) -> None:
    lake, installed = str(tmp_path / "lake"), find_spec("embedding_atlas") is not None
    embed_here(lake, [_few(tmp_path)], resolve(model))
    with running(lake, str(tmp_path), model) as site:
        page = site.get("/map/")
        assert page.status == (200 if installed else 501)
        if not installed:
            assert "embedlake[atlas]" in page.json["error"]
        data = site.get("/map/data/metadata.json").json
        assert data["database"] == {"type": "wasm", "load": True}
        table = pq.read_table(io.BytesIO(site.get("/map/data/dataset.parquet").body))
        assert sorted(table["name"].to_pylist()) == ["0.txt", "1.txt", "2.txt"]
        for name in ("../server.py", "..%2fserver.py", "%2e%2e/cli.py", "absent.js"):
            assert site.get(f"/map/{name}").status == (404 if installed else 501)
        assert site.ask("POST", "/map/data/cache/x", b"{}").status == 405


def _few(folder: Path) -> str:
    for n in range(3):
        (folder / "texts").mkdir(exist_ok=True)
        (folder / "texts" / f"{n}.txt").write_text(f"word{n} and others")
    return str(folder / "texts")
