"""The tour of `make demo`: a bucket of real media becomes a lake, which is then searched and queried."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from rich.console import Console

from jobs.demo.searches import HOME, load_searches
from jobs.demo.server import S3Server
from jobs.display import open_display, show_hits, show_report, show_status, show_table
from operators.model.registry import DEFAULT_MODEL, resolve
from operators.storage import Storage
from pipelines.embed import EmbedJob
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.sql import query
from pipelines.status import status
from schemas.config import Policy
from schemas.errors import UsageError
from schemas.report import RunReport

BUCKET = "s3://embedlake-demo"
LAKE = f"{BUCKET}/lake"
CORPUS = "demo"
SHOWN = 3
POLICY = Policy(coverage_floor=0.9)
"""Five of the 145 objects are broken on purpose, more than a night may lose unasked."""
STATEMENTS = (
    "SELECT modality, count(*) AS segments, sum(tokens) AS tokens FROM demo GROUP BY ALL ORDER BY ALL",
    "SELECT author, year, topic, text FROM demo WHERE year >= 2022 ORDER BY year, author",
    "SELECT split_part(uri, '/', -1) AS asset, error_stage, error_code, error_detail FROM quarantine ORDER BY 1",
)


def tour(folder: Path, console: Console, home: Path = HOME) -> list[str]:
    """Run the whole tour on a new S3 server whose objects lie in `folder`; those of an earlier tour go.

    Args:
        folder: where the server keeps its objects.
        console: what the tour is shown on.
        home: the folder that holds `corpus/` and `manifests/`.

    Returns:
        the names of searches whose hits are not what a person would expect.
    """
    if (folder / "s3.json").exists():
        shutil.rmtree(folder)
    with _server(folder) as server:
        os.environ.update(server.environment())
        console.rule("1. A bucket")
        count = upload(Storage(), home)
        console.print(f"{count} objects in {BUCKET} on a real S3 server at {server.endpoint}")
        console.rule("2. The main job")
        embed(console)
        console.rule("3. The same command again")
        embed(console)
        console.rule("4. The lake")
        reader = LakeReader.open(LAKE)
        show_status(status(reader), as_json=False)
        console.rule("5. Searches across modalities")
        surprises = search(reader, console)
        console.rule("6. SQL")
        for statement in STATEMENTS:
            console.print(f'$ embedlake sql "{statement}"', style="bold", highlight=False, soft_wrap=True)
            show_table(query(reader, statement), as_json=False)
        console.rule("7. Where everything lies")
        where(folder, console)
    return surprises


def serve(folder: Path, console: Console) -> None:
    """Start the S3 server over an earlier tour's objects, and keep it until Ctrl-C.

    Raises:
        UsageError: there was no tour in this folder.
    """
    if not (folder / "s3.json").exists():
        raise UsageError(f"no demo in {folder}: run `make demo` first")
    with _server(folder) as server:
        lines = "\n".join(f"export {name}='{value}'" for name, value in server.environment().items())
        console.rule("Serving until Ctrl-C; in another terminal")
        console.print(f"{lines}\nexport EMBEDLAKE_LAKE={LAKE}", highlight=False, soft_wrap=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _server(folder: Path) -> S3Server:
    return S3Server(folder, buckets=[BUCKET.removeprefix("s3://")])


def upload(storage: Storage, home: Path) -> int:
    """Put the corpus and the manifests below `home` into the bucket; returns the number of objects."""
    files = [p for part in ("corpus", "manifests") for p in sorted((home / part).rglob("*")) if p.is_file()]
    for file in files:
        storage.put(f"{BUCKET}/{file.relative_to(home).as_posix()}", file.read_bytes())
    return len(files)


def embed(console: Console) -> RunReport:
    """The main job over the corpus and a manifest of interleaved documents."""
    sources = (f"{BUCKET}/corpus", f"{BUCKET}/manifests/documents.jsonl")
    flags = (
        f"--allow {BUCKET}/corpus --lake {LAKE} --corpus {CORPUS} --coverage-floor {POLICY.coverage_floor:g}"
    )
    shown = f"$ embedlake embed {' '.join(sources)} {flags}"
    console.print(shown, style="bold", highlight=False, soft_wrap=True)
    with open_display(quiet=False) as display:
        report = EmbedJob(
            sources=sources,
            lake=LAKE,
            spec=resolve(DEFAULT_MODEL),
            corpus=CORPUS,
            allow=(f"{BUCKET}/corpus",),
            policy=POLICY,
            progress=display,
        ).run()
    show_report(report, as_json=False)
    return report


def search(reader: LakeReader, console: Console) -> list[str]:
    """Every search of the tour with its first hits; the names of those that found something else are returned."""
    searcher = Searcher(reader, CORPUS, resolve(DEFAULT_MODEL))
    surprises = []
    for wanted in load_searches():
        hits = searcher.search(Query(parts=wanted.parts, modality=wanted.modality, limit=wanted.within))
        found = wanted.found(hits)
        surprises += [] if found else [wanted.name]
        mark = "[green]found[/green]" if found else "[red]not what was expected[/red]"
        console.print(f"\n[bold]{wanted.title}[/bold] ({mark})", highlight=False)
        console.print(f"$ {wanted.command}", highlight=False, soft_wrap=True)
        show_hits(hits[:SHOWN], as_json=False)
    return surprises


def where(folder: Path, console: Console) -> None:
    """The lake's layout and how to open it again."""
    console.print(
        f"catalog    {LAKE}/catalog/\n"
        f"assets     {LAKE}/{CORPUS}/assets/*.lance\n"
        f"vectors    {LAKE}/{CORPUS}/spaces/*.lance\n"
        f"runs       {LAKE}/{CORPUS}/runs/\n"
        f"The server has stopped; its objects stay in {folder}.\n"
        f"Start it again and query the lake yourself: .venv/bin/python -m jobs.demo --serve",
        highlight=False,
    )
