"""The command line: one clear line and a documented exit code for every mistake, JSON for scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import main
from operators.model.registry import FAMILIES
from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from schemas.errors import ExitCode
from schemas.report import RunReport
from tests.lakes import embed_here
from tests.models.hashed import HashSpec

REPO = Path(__file__).resolve().parents[2]


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["embedlake", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        return Ran(int(code or 0), *capfd.readouterr())

    return call


def model_folder(parent: Path, name: str) -> str:
    folder = parent / name
    folder.mkdir()
    (folder / "embedlake.json").write_text('{"family": "hashed"}')
    return str(folder)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    return model_folder(tmp_path, "one-model")


@pytest.fixture
def other_model(tmp_path: Path, model: str) -> str:
    return model_folder(tmp_path, "other-model")


@pytest.fixture
def texts(tmp_path: Path) -> str:
    for name, body in {"a.txt": "the cat sat on the mat", "b.txt": "a boat ran far away"}.items():
        Storage().put(f"{tmp_path}/texts/{name}", body.encode())
    return f"{tmp_path}/texts"


@pytest.fixture
def lake(texts: str, model: str, tmp_path: Path) -> str:
    """A lake of the texts, made by the model in this process."""
    place = str(tmp_path / "lake")
    embed_here(place, [texts], HashSpec(Path(model).name), "corpus")
    return place


def one_line(ran: Ran, code: ExitCode, *words: str) -> None:
    assert ran.code == code
    assert ran.out == ""
    lines = [line for line in ran.err.splitlines() if line and not line.startswith(("list:", "plan:"))]
    assert len(lines) == 1, ran.err
    for word in words:
        assert word in lines[0]


@pytest.mark.usefixtures("local_ray")
def test_embed_search_sql_and_status_speak_json(run: Run, model: str, texts: str, place: str) -> None:
    lake = join(place, "lake")
    embed = ("embed", texts, "--lake", lake, "--corpus", "demo", "--model", model, "--json")
    first = run(*embed).json
    names = ("listed", "new", "changed", "unchanged", "deleted", "embedded", "segments", "quarantined")
    assert [first[n] for n in names] == [2, 2, 0, 0, 0, 2, 2, 0]
    assert first["published_version"] == 2
    (spent,) = first["actor_seconds"][:1]
    assert set(spent) == {"loading", "model", "storage", "input"}
    assert spent["loading"] > 0
    assert spent["model"] > 0
    assert run(*embed).json["published_version"] is None
    hits = run("search", "cat", "--lake", lake, "--model", model, "--limit", "1", "--json").json["hits"]
    assert len(hits) == 1
    assert {"score", "where", "uri", "modality", "text"} <= set(hits[0])
    table = run("sql", "select count(*) as n from demo", "--lake", lake, "--json").json
    assert table == {"columns": ["n"], "rows": [{"n": 2}]}
    status = run("status", "--lake", lake, "--json").json
    assert status["corpora"][0]["last_run"]["actor_seconds"] == first["actor_seconds"]
    assert status["corpora"][0]["segments_by_modality"] == {"text": 2}


@pytest.mark.usefixtures("local_ray")
def test_people_get_tables(
    run: Run, model: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    lake = str(tmp_path / "lake")
    assert (
        "2 listed = 2 embedded + 0 quarantined + 0 unchanged"
        in run("embed", texts, "--lake", lake, "--model", model).out
    )
    assert "nothing to do: 2 assets unchanged" in run("embed", texts, "--lake", lake, "--model", model).out
    assert "a.txt" in run("search", "cat", "--lake", lake, "--model", model).out
    assert "modality" in run("sql", "select modality, count(*) from corpus group by 1", "--lake", lake).out
    shown = run("status", "--lake", lake).out
    assert "one-model" in shown
    assert re.search(
        r"last run, \d+ actors?, \d+ s: model \d+%, input \d+%, storage \d+%, loading \d+%", shown
    )


@pytest.mark.usefixtures("local_ray")
def test_a_run_that_refuses_to_publish_says_how_to_look_and_how_to_go_on(
    run: Run, model: str, texts: str, tmp_path: Path
) -> None:
    Storage().put(f"{texts}/empty.txt", b"")
    embed = ("embed", texts, "--lake", str(tmp_path / "lake"), "--model", model)
    refused = run(*embed, "--json")
    one_line(refused, ExitCode.COVERAGE, "66.7%", "1 x empty", "quarantined.parquet", "--coverage-floor 0.66")
    published = run(*embed, "--coverage-floor", "0.66", "--json").json
    assert (published["embedded"], published["resumed_segments"], published["quarantined"]) == (2, 2, 1)
    chosen = run(*embed, "--full", "--include", "a.*", "--since", "2020-01-01", "--json").json
    assert (chosen["embedded"], chosen["excluded"]) == (1, 2)


def test_a_lake_made_by_another_model_is_refused(run: Run, lake: str, other_model: str, texts: str) -> None:
    one_line(
        run("embed", texts, "--lake", lake, "--model", other_model), ExitCode.MODEL, "never mixed", "corpus"
    )
    searched = run("search", "cat", "--lake", lake, "--model", other_model)
    one_line(searched, ExitCode.MODEL, "vectors of two models cannot be compared")


def test_mistakes_in_a_query_are_one_line(run: Run, model: str, lake: str, tmp_path: Path) -> None:
    ask = ("search", "cat", "--lake", lake, "--model", model)
    one_line(run(*ask, "--width", "7"), ExitCode.USAGE, "width 7", "32")
    one_line(run(*ask, "--where", "nonsense ="), ExitCode.USAGE, "--where", "nonsense")
    one_line(run(*ask, "--corpus", "absent"), ExitCode.LAKE, "no corpus 'absent'", "corpus")
    one_line(run("search", "--lake", lake), ExitCode.USAGE, "nothing to search for")
    one_line(run(*ask, "--image", f"{tmp_path}/none.png"), ExitCode.SOURCE, "not found", "none.png")
    one_line(run("sql", "select * from nowhere", "--lake", lake), ExitCode.USAGE, "nowhere")


def test_bad_sources_are_one_line(run: Run, model: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("path\na.txt\n")
    (tmp_path / "bad.parquet").write_text("not parquet")
    base = ("--lake", str(tmp_path / "lake"), "--model", model)
    one_line(run("embed", "gopher://x", *base), ExitCode.USAGE, "unknown scheme 'gopher://'")
    one_line(run("embed", f"{tmp_path}/absent", *base), ExitCode.SOURCE, "not found", "absent")
    one_line(run("embed", f"{tmp_path}/bad.csv", *base), ExitCode.SOURCE, "has no column 'uri'", "path")
    one_line(run("embed", f"{tmp_path}/bad.parquet", *base), ExitCode.SOURCE, "cannot read manifest")
    assert not (tmp_path / "lake").exists(), "nothing is half-written"


@pytest.mark.usefixtures("s3_environment")
def test_a_missing_bucket_is_one_line(run: Run, model: str, tmp_path: Path) -> None:
    ran = run("embed", "s3://no-such-bucket/x", "--lake", str(tmp_path / "lake"), "--model", model)
    one_line(ran, ExitCode.SOURCE, "no-such-bucket")


def test_a_wrong_secret_is_one_line(
    run: Run, model: str, bucket: str, s3_environment: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Storage().put(f"s3://{bucket}/in/a.txt", b"text")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    Storage().filesystem("s3://x")[0].clear_instance_cache()
    lake = ("--lake", str(tmp_path / "lake"), "--model", model)
    one_line(run("embed", f"s3://{bucket}/in", *lake), ExitCode.SOURCE, "access denied")
    Storage().filesystem("s3://x")[0].clear_instance_cache()


def test_wrong_names_are_one_line(run: Run, tmp_path: Path, texts: str) -> None:
    lake = ("--lake", str(tmp_path / "lake"))
    one_line(run("embed", texts, *lake, "--model", "./no/such/model"), ExitCode.MODEL, "no/such/model")
    one_line(run("status", "--lake", str(tmp_path / "nowhere")), ExitCode.LAKE, "no lake at", "nowhere")
    one_line(run("--config", "absent.yaml", "status", *lake), ExitCode.USAGE, "absent.yaml")
    (tmp_path / "c.yaml").write_text("lak: x\n")
    one_line(run("--config", str(tmp_path / "c.yaml"), "status", *lake), ExitCode.USAGE, "lak")


def test_a_bad_corpus_name_is_one_line(run: Run, model: str, texts: str, tmp_path: Path) -> None:
    ran = run("embed", texts, "--lake", str(tmp_path / "lake"), "--model", model, "--corpus", "a;drop")
    one_line(ran, ExitCode.USAGE, "a;drop")


def test_the_config_file_gives_defaults_that_the_environment_and_flags_override(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.yaml").write_text(f"lake: {tmp_path}/from-file\n")
    config = ("--config", str(tmp_path / "c.yaml"), "status")
    assert "from-file" in run(*config).err
    monkeypatch.setenv("EMBEDLAKE_LAKE", str(tmp_path / "from-env"))
    assert "from-env" in run(*config).err
    assert "from-flag" in run(*config, "--lake", str(tmp_path / "from-flag")).err


@pytest.mark.parametrize("words", [["--help"], ["embed", "--help"], ["search", "--help"]])
def test_help_needs_no_heavy_library(words: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "jobs", *words]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert "Usage: embedlake" in done.stdout
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "ray", "lance", "transformers", "duckdb", "fsspec", "polars"}


def _fail(monkeypatch: pytest.MonkeyPatch, error: BaseException, noise: bytes = b"") -> None:
    def stop(job: EmbedJob) -> RunReport:
        os.write(2, noise)
        raise error

    monkeypatch.setattr(EmbedJob, "run", stop)


def test_an_interrupted_run_says_how_to_continue(
    run: Run, model: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail(monkeypatch, KeyboardInterrupt(), b"native noise")
    ran = run("embed", texts, "--lake", str(tmp_path / "lake"), "--model", model)
    one_line(ran, ExitCode.INTERRUPTED, "the same command continues the run")


def test_an_interrupted_query_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LakeReader, "open", stop)
    one_line(run("status", "--lake", str(tmp_path)), ExitCode.INTERRUPTED, "interrupted")


def test_an_error_that_nobody_foresaw_is_one_line_that_names_what_was_kept(
    run: Run, model: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = ("embed", texts, "--lake", str(tmp_path / "lake"), "--model", model)
    _fail(monkeypatch, RuntimeError("odd\n\x1b[31mthing"))
    ran = run(*embed)
    one_line(ran, ExitCode.FAILED, "RuntimeError: odd [31mthing", "EMBEDLAKE_DEBUG=1")
    assert "\x1b" not in ran.err
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _fail(monkeypatch, RuntimeError("odd"), b"native noise")
    ran = run(*embed)
    (kept,) = tmp_path.glob("embedlake-stderr-*.log")
    one_line(ran, ExitCode.FAILED, str(kept))
    assert kept.read_bytes() == b"native noise"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.reader import LakeReader\n"
        "def fail(*_): raise RuntimeError('odd')\n"
        "LakeReader.open = fail\n"
        "sys.argv = ['embedlake', 'status', '--lake', 'x']\n"
        "from jobs.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code]
    quiet = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert (quiet.returncode, len(quiet.stderr.splitlines())) == (ExitCode.FAILED, 1)
    monkeypatch.setenv("EMBEDLAKE_DEBUG", "1")
    loud = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert loud.returncode == ExitCode.FAILED
    assert "Traceback" in loud.stderr


def test_a_foreign_package_of_the_same_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPO)!r}]; from jobs.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == ExitCode.USAGE
    assert "package 'operators' comes from" in done.stderr
    assert "Traceback" not in done.stderr


SURFACE = {
    "backfill": ["--allow", "--batch-assets", "--budget-gpu-hours", "--corpus", "--coverage-floor", "--json",
                 "--keep-prepared", "--lake", "--model", "--priority", "--ray-address", "--recipe", "--vectors",
                 "--wait-minutes", "--where"],
    "cluster": ["--corpus", "--json", "--k", "--lake", "--modality", "--seed", "--space", "--wait-minutes", "--width"],
    "compare": ["--corpus", "--golden", "--json", "--lake", "--new-model", "--old-model", "--out", "--sample",
                "--seed"],
    "dedup": ["--corpus", "--json", "--lake", "--modality", "--seed", "--space", "--threshold", "--wait-minutes",
              "--width"],
    "connect": ["--corpus", "--export", "--json", "--lake", "--pin", "--space", "--tool"],
    "embed": ["--allow", "--budget-gpu-hours", "--corpus", "--coverage-floor", "--exclude", "--full", "--include",
              "--json", "--keep-prepared", "--lake", "--max-assets", "--max-deleted", "--model", "--ray-address",
              "--recipe", "--since", "--vectors", "--wait-minutes"],
    "evaluate": ["--baselines", "--data", "--json", "--model", "--out", "--queries", "--seed", "--sets", "--speed",
                 "--threads"],
    "export": ["--corpus", "--dtype", "--format", "--full", "--json", "--lake", "--partition", "--space", "--to",
               "--width"],
    "explore": ["--allow", "--corpus", "--host", "--lake", "--model", "--open", "--port"],
    "forget": ["--allow-again", "--corpus", "--json", "--lake", "--wait-minutes", "--where", "--yes"],
    "gc": ["--corpus", "--days", "--dry-run", "--json", "--lake", "--wait-minutes"],
    "index": ["--corpus", "--drop", "--json", "--kind", "--lake", "--recall", "--space", "--wait-minutes", "--width"],
    "maintain": ["--corpus", "--days", "--json", "--lake", "--wait-minutes"],
    "nightly": ["--config", "--json", "--only"],
    "plan": ["--allow", "--budget-gpu-hours", "--calibrate", "--corpus", "--exclude", "--full", "--include",
             "--json", "--lake", "--max-assets", "--model", "--recipe", "--sample", "--since", "--tokens-per-second",
             "--usd-per-gpu-hour", "--vectors"],
    "promote": ["--corpus", "--force", "--json", "--lake"],
    "quarantine list": ["--code", "--corpus", "--json", "--lake", "--modality", "--since-run", "--stage", "--uri"],
    "quarantine retry": ["--allow", "--code", "--corpus", "--json", "--lake", "--modality", "--model", "--ray-address",
                         "--recipe", "--since-run", "--stage", "--uri", "--vectors"],
    "quarantine show": ["--corpus", "--json", "--lake"],
    "rollback": ["--corpus", "--json", "--lake"],
    "search": ["--allow", "--audio", "--bridge", "--by-asset", "--corpus", "--exact", "--explain", "--hybrid",
               "--image", "--json", "--lake", "--limit", "--modality", "--model", "--new-model", "--rerank",
               "--spaces", "--video", "--where", "--width"],
    "spaces drop": ["--corpus", "--json", "--lake", "--wait-minutes", "--yes"],
    "spaces list": ["--corpus", "--json", "--lake"],
    "spaces show": ["--corpus", "--json", "--lake"],
    "sql": ["--corpus", "--file", "--format", "--json", "--lake", "--model", "--output", "--table", "--version"],
    "status": ["--json", "--lake"],
    "train": ["--data", "--device", "--json", "--recipe", "--resume", "--threads", "--to"],
    "widths": ["--add", "--corpus", "--drop", "--json", "--k", "--lake", "--look", "--queries", "--sample", "--seed",
               "--space", "--wait-minutes", "--yes"],
}  # fmt: skip


def test_the_command_line_s_flags_do_not_change_by_accident() -> None:
    import typer

    from jobs.cli import app

    top = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    below = {f"{n} {m}": c for n, group in top.items() for m, c in getattr(group, "commands", {}).items()}
    commands = {n: c for n, c in top.items() if not hasattr(c, "commands")} | below
    flags = {
        n: sorted(o for p in c.params for o in p.opts if o.startswith("--")) for n, c in commands.items()
    }
    assert {name: [f for f in found if f != "--help"] for name, found in sorted(flags.items())} == SURFACE
