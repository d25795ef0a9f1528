"""A lake of real media and the real server over it, for the suites of `explore`."""

from __future__ import annotations

import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from jobs.explore.serve import served
from operators.model.registry import resolve
from pipelines.reader import LakeReader
from tests.lakes import embed_here

CORPUS = Path(__file__).resolve().parents[2] / "infra" / "demo" / "corpus"
FILES = (
    *(
        "images/lighthouse.jpg",
        "images/sailboats-at-sunset.jpg",
        "images/turning-sun.gif",
        "images/whale.png",
    ),
    *("audio/lighthouse-keeper.mp3", "video/farm-day.mp4", "pdf/harbour-guide.pdf"),
    *("text/a-day-at-the-harbour.txt", "text/birthday-cake.html", "documents/harbour-postcard.json"),
)
MARKUP = "<img src=x onerror=alert(1)> <b>bold</b>"
EVIL_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
    '<script>alert(1)</script><rect width="40" height="40" fill="red"/></svg>'
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    """A running server, and a visitor who has the key."""

    address: str
    lake: str
    source: str
    cookie: str

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def ask(
        self, method: str, path: str, body: bytes | None = None, key: bool = True, **headers: str
    ) -> Answer:
        connection = HTTPConnection(self.host, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**({"Cookie": self.cookie} if key else {}), **sent})
        found = connection.getresponse()
        answer = Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        connection.close()
        return answer

    def get(self, path: str, _key: bool = True, **query: object) -> Answer:
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path, key=_key)

    def search(self, **asked: object) -> Answer:
        return self.ask("POST", "/api/search", json.dumps({"limit": 50, **asked}).encode())

    def upload(self, name: str, body: bytes) -> Answer:
        return self.ask("POST", f"/api/uploads?name={quote(name)}", body)

    def uri(self, name: str) -> str:
        return f"{self.source}/{name}"


def make_media(folder: Path) -> str:
    """The sources: a few files of every kind, one of them twice in a zip, and some that mean harm."""
    source = folder / "in"
    for name in FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CORPUS / name, source / name)
    (source / "text" / "markup.txt").write_text(MARKUP)
    (source / "text" / "long.txt").write_text(" ".join(f"word{n}" for n in range(600)))
    (source / "images" / "evil.svg").write_text(EVIL_SVG)
    with zipfile.ZipFile(source / "box.zip", "w") as box:
        box.write(CORPUS / "images/owl.png", "birds/owl.png")
        box.write(CORPUS / "audio/dog-training.mp3", "dog.mp3")
    return str(source)


@contextmanager
def running(lake: str, source: str, model: str, **given: Any) -> Iterator[Site]:
    """The server on a free port of loopback, in a thread, with its model loaded."""
    asked = {"host": "127.0.0.1", "port": 0, "allow": (), **given}
    with served(LakeReader.open(lake), None, model, **asked) as (server, bound, address):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            parts = urlsplit(address)
            while not server.started:
                time.sleep(0.01)
            site = Site(address, lake, source, "")
            entered = site.ask("GET", f"/?{parts.query}", key=False)
            site = Site(address, lake, source, entered.headers["set-cookie"].split(";")[0])
            deadline = time.monotonic() + 60
            while site.get("/api/lake").json["state"] == "loading" and time.monotonic() < deadline:
                time.sleep(0.02)
            yield site
        finally:
            server.should_exit = True
            thread.join(20)


def make_lake(folder: Path, model: str) -> tuple[str, str]:
    """The lake and its source."""
    source, lake = make_media(folder), str(folder / "lake")
    embed_here(lake, [source], resolve(model))
    return lake, source
