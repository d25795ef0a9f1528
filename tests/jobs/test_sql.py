"""`embedlake sql`: statements from words, files, pipes and people; rows as tables and as files, whole or not at all."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from jobs.repl import Words, complete, converse
from operators.storage import Storage, join
from pipelines.reader import LakeReader
from pipelines.sql import Session, opened
from schemas.errors import ExitCode
from tests.jobs.conftest import Command
from tests.lakes import make_lake

REPO = Path(__file__).resolve().parents[2]
TEXTS = {"a.txt": "the cat sat", "b.txt": "a boat, far\naway", 'c".txt': ""}
Sql = Callable[..., bytes]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    lake = str(tmp_path_factory.mktemp("sql") / "lake")
    make_lake(lake, TEXTS)
    return lake


@pytest.fixture
def piped(lake: str) -> Sql:
    """The bytes that `embedlake sql` writes to a pipe."""

    def run(*words: str, text: str | None = None) -> bytes:
        command = [sys.executable, "-m", "jobs", "sql", "--lake", lake, *words]
        given = {"input": text.encode()} if text else {"stdin": subprocess.DEVNULL}
        return subprocess.run(command, cwd=REPO, capture_output=True, check=True, **given).stdout

    return run


def refused(embedlake: Command, code: ExitCode, *words: str, says: str) -> None:
    said = embedlake("sql", *words)
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    assert says in said.err


def test_rows_are_the_same_in_every_file_format(embedlake: Command, lake: str, tmp_path: Path) -> None:
    statement = "select uri, text, tokens, [1, 2] as list, 1.5::double as real from demo order by uri"
    rows = embedlake("sql", statement, "--lake", lake, "--json").json["rows"]
    assert [row["uri"] for row in rows] == sorted(TEXTS)
    for name in ("rows.parquet", "rows.arrow", "rows.csv", "rows.json"):
        said = embedlake("sql", statement, "--lake", lake, "--output", str(tmp_path / name))
        assert (said.code, said.out) == (0, "")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    assert pa.ipc.open_file(tmp_path / "rows.arrow").read_all().to_pylist() == rows
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    flat = pyarrow.csv.read_csv(tmp_path / "rows.csv", parse_options=parsing).to_pylist()
    assert flat == [{**row, "list": "[1,2]"} for row in rows]
    assert (tmp_path / "rows.json").read_text() == embedlake("sql", statement, "--lake", lake, "--json").out
    assert stat.S_IMODE((tmp_path / "rows.csv").stat().st_mode) == 0o666 & ~_umask()


def test_a_pipe_gets_streams(piped: Sql) -> None:
    statement = "select uri from demo order by uri"
    arrow = piped(statement, "--format", "arrow")
    assert pa.ipc.open_stream(arrow).read_all()["uri"].to_pylist() == sorted(TEXTS)
    parquet = piped("--format", "parquet", text=f"{statement};")
    assert pq.read_table(io.BytesIO(parquet))["uri"].to_pylist() == sorted(TEXTS)


def test_a_reader_that_has_enough_ends_the_command_in_silence(lake: str) -> None:
    sql = f"{sys.executable} -m jobs sql 'from range(3000000)' --format csv --lake '{lake}'"
    done = subprocess.run(f"{sql} | head -n 2", shell=True, cwd=REPO, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('"range"\n0\n', "")


def test_a_file_is_there_whole_or_not_at_all(embedlake: Command, lake: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    out.write_text("before")
    late = "select case when i = 99999 then cast('x' as int) else i end as n from range(100000) t(i)"
    refused(embedlake, ExitCode.USAGE, late, "--lake", lake, "--output", str(out), says="Conversion Error")
    refused(
        embedlake,
        ExitCode.USAGE,
        "select 1; select 2",
        "--lake",
        lake,
        "--output",
        str(out),
        says="one result",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert out.read_text() == "before"


def test_a_failure_midway_leaves_no_half_json(embedlake: Command, lake: str) -> None:
    late = "select case when i = 99999 then cast('x' as int) else i end as n from range(100000) t(i)"
    refused(embedlake, ExitCode.USAGE, late, "--lake", lake, "--json", says="Conversion Error")


def test_a_script_s_statements_share_what_they_make(embedlake: Command, lake: str, tmp_path: Path) -> None:
    script = tmp_path / "report.sql"
    script.write_text("create table kept as select uri from demo; -- a; comment\nset variable x = 'a;b';\n"
                      "select count(*) as n from kept; select getvariable('x') as x")  # fmt: skip
    said = embedlake("sql", "--file", str(script), "--lake", lake, "--json")
    assert said.json == {
        "results": [{"columns": ["n"], "rows": [{"n": 3}]}, {"columns": ["x"], "rows": [{"x": "a;b"}]}]
    }
    assert embedlake("sql", "create table t (a int)", "--lake", lake, "--json").json == {
        "columns": [],
        "rows": [],
    }
    script.write_text("select 1 as a; from nowhere; select 2 as b")
    said = embedlake("sql", "--file", str(script), "--lake", lake, "--format", "csv")
    assert (said.code, said.out) == (ExitCode.USAGE, '"a"\n1\n')


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["select 1", "--file", "x.sql"], "not both"),
        (["--file", "absent.sql"], "absent.sql"),
        (["select 1", "--json", "--format", "csv"], "contradict"),
        (["select 1", "--output", "rows.xyz"], "rows.xyz"),
        (["select 1", "--output", "s3://b/rows.csv"], "local file"),
        (["select 1", "--output", "rows.csv", "--format", "table"], "rows.csv"),
        (["select 1", "--table", "labels"], "NAME=PATH"),
        (["select 1", "--table", "demo=x.csv"], "already"),
        (["select 1", "--table", "Assets=x.csv"], "already"),
        (["select 1", "--table", 'a"; drop view demo; --=x.csv'], "no name of a table"),
        (["from t", "--table", "t=x.txt"], "x.txt"),
        (["select interval 1 day as i", "--format", "parquet"], "cast it"),
    ],
)
def test_a_wrong_flag_is_one_line(embedlake: Command, lake: str, words: list[str], says: str) -> None:
    refused(embedlake, ExitCode.USAGE, *words, "--lake", lake, says=says)


def test_a_file_of_the_caller_s_joins(embedlake: Command, lake: str, place: str) -> None:
    table = pa.table({"uri": ["a.txt", "b.txt"], "label": ["animal", "vehicle"]})
    parquet, lines = io.BytesIO(), b'{"uri": "a.txt", "who": "me"}\n{"uri": "b.txt", "who": "you"}\n'
    pq.write_table(table, parquet)
    Storage().put(join(place, "labels.parquet"), parquet.getvalue())
    Storage().put(join(place, "people.jsonl"), lines)
    Storage().put(join(place, "sizes.csv"), b"uri,n\na.txt,7\n")
    said = embedlake(
        "sql", "select text, label, n, who from demo join labels using (uri) join Sizes using (uri) "
        "join people using (uri)", "--lake", lake, "--json", "--table", f"labels={place}/labels.parquet",
        "--table", f"sizes={place}/sizes.csv", "--table", f"people={place}/people.jsonl"
    )  # fmt: skip
    assert said.err == ""
    assert said.json["rows"] == [{"text": "the cat sat", "label": "animal", "n": 7, "who": "me"}]
    absent = ("from t", "--lake", lake, "--table", f"t={place}/absent.csv")
    refused(embedlake, ExitCode.SOURCE, *absent, says=f"not found: {place}/absent.csv")
    Storage().put(join(place, "odd.parquet"), b"not parquet")
    odd = ("from t", "--lake", lake, "--table", f"t={place}/odd.parquet")
    refused(embedlake, ExitCode.SOURCE, *odd, says="cannot be read as parquet")
    Storage().put(join(place, "late.csv"), b"n\n" + b"1234567\n" * 400_000 + b"word\n")
    late = ("select sum(n) from t", "--lake", lake, "--table", f"t={place}/late.csv")
    refused(embedlake, ExitCode.SOURCE, *late, says=f"cannot read {place}/late.csv")


def test_a_vector_is_embedded_by_the_named_model(
    embedlake: Command, lake: str, one_model: str, tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    near = "select uri from vector_search('demo', 'the cat', k := 1)"
    said = embedlake("sql", near, "--lake", lake, "--model", one_model, "--json")
    assert said.json["rows"] == [{"uri": "a.txt"}]
    image = f"select typeof(embed_image('{tmp_path}/red.png', width := 8)) as kind"
    said = embedlake("sql", image, "--lake", lake, "--model", one_model, "--json")
    assert said.json["rows"] == [{"kind": "FLOAT[8]"}]
    absent = ("select embed_image('/no/such.png')", "--lake", lake, "--model", one_model)
    refused(embedlake, ExitCode.SOURCE, *absent, says="not found: /no/such.png")
    refused(embedlake, ExitCode.MODEL, near, "--lake", lake, says="name the model's folder")


def test_an_earlier_entry_of_the_catalog_is_as_it_was(embedlake: Command, lake: str) -> None:
    count = ("select count(*) as n from demo", "--lake", lake, "--json", "--version")
    assert embedlake("sql", *count, "1").json["rows"] == [{"n": 0}]
    assert embedlake("sql", *count, "2").json["rows"] == [{"n": len(TEXTS)}]
    refused(embedlake, ExitCode.LAKE, *count, "9", says="no catalog entry 9; there are: 1 to 2")


def test_people_see_the_first_rows_of_many_and_are_told(embedlake: Command, lake: str) -> None:
    said = embedlake("sql", "from range(5000)", "--lake", lake)
    assert len(said.out.splitlines()) == 1 + 1000 + 1
    assert "the first 1000 rows" in said.out.splitlines()[-1]


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "embedlake" / "sql_history"


def typed(session: Session, text: str) -> None:
    with create_pipe_input() as keys:
        keys.send_text(text)
        converse(session, "json", input=keys, output=DummyOutput())


def test_the_prompt_answers_goes_on_after_errors_and_leaves(
    lake: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(LakeReader.open(lake)) as session:
        typed(session, "select count(*) as n\rfrom demo;\rfrom nowhere;\rselect 'a;\rb' as t;\rhalf a statement\x03"
                       ".tables\r.schema runs\r.help\r.nonsense\rselect 2 as two;\r\x04")  # fmt: skip
        typed(session, ".quit\r")
    said = capsys.readouterr()
    assert '{"columns": ["n"], "rows": [{"n": 3}]}' in said.out
    assert '{"columns": ["t"], "rows": [{"t": "a;\\nb"}]}' in said.out
    assert '"column_name": "run_id"' in said.out
    assert '{"columns": ["two"], "rows": [{"two": 2}]}' in said.out
    assert {"assets", "demo", "demo__assets", "quarantine", "runs"} <= set(said.out.splitlines())
    assert ".schema NAME" in said.out
    errors = said.err.splitlines()
    assert len(errors) == 2
    assert "nowhere" in errors[0]
    assert ".nonsense" in errors[1]
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert "from demo;" in state.read_text()


def test_a_history_that_cannot_be_kept_is_no_error(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with opened(LakeReader.open(lake)) as session:
        typed(session, "select 1 as a;\r\x04")
    assert '"rows": [{"a": 1}]' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("select 1", False), ("select 1;", True), ("select 'a;", False), ("select 'a;'", False), ("select 'a';", True),
        ("/* a;", False), ("nonsense;", True), (".tables", True), ("  ", True),
        ("select 1; select", False),
    ],
)  # fmt: skip
def test_a_statement_runs_at_its_semicolon(text: str, ready: bool) -> None:
    assert complete(text) is ready


def test_words_of_the_lake_and_of_sql_are_completed(lake: str) -> None:
    words = Words(LakeReader.open(lake), ["demo", "demo__assets"])

    def offered(text: str) -> dict[str, str]:
        found = words.get_completions(Document(text), CompleteEvent())
        return {one.text: one.display_meta_text for one in found}

    assert offered("select * from dem") == {"demo": "table", "demo__assets": "table"}
    assert offered("select embedding_") == {f"embedding_{n}": "column" for n in (32, 16, 8)}
    assert offered("select vector_se") == {"vector_search": "function"}
    assert offered("SEL")["SELECT"] == "keyword"
    assert offered(".sch") == {".schema": ""}
    assert offered(".schema demo_") == {"demo__assets": "table"}
    assert offered("select ") == {}


def test_ctrl_c_ends_a_long_statement(lake: str) -> None:
    endless = "select 'begun'; select count(*) from range(1000000000000) t(i) where i % 7 = 3"
    command = [sys.executable, "-m", "jobs", "sql", endless, "--lake", lake]
    child = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        while "begun" not in (told := child.stdout.readline()):
            assert told, "it ended before it began"
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out.strip(), err) == (ExitCode.INTERRUPTED, "", "embedlake: interrupted\n")


def test_a_terminal_gets_the_prompt(lake: str, state: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs", "sql", "--lake", lake]
    environment = {**os.environ, "TERM": "dumb", "XDG_STATE_HOME": str(state.parents[1])}
    child = subprocess.Popen(command, cwd=REPO, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        _until(ours, b"embedlake> ")
        os.write(ours, b"select 40 + 2 as answer;\r")
        seen = _until(ours, b" 42 ")
        if b"embedlake> " not in seen.partition(b" 42 ")[2]:
            _until(ours, b"embedlake> ")
        os.write(ours, b".quit\r")
        _until(ours, None)
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert b"answer" in seen
    assert state.exists()


def _until(terminal: int, word: bytes | None) -> bytes:
    """What is written to the terminal up to a word, or up to the end."""
    seen, end = b"", time.monotonic() + 120
    while (word is None or word not in seen) and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # how Linux tells that the other side is closed
                break
    assert word is None or word in seen, seen
    return seen


def test_a_file_is_written_by_what_returns_rows_and_is_a_file(
    embedlake: Command, lake: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.csv"
    kept.write_text("old")
    (tmp_path / "link.csv").symlink_to(kept)
    none = embedlake("sql", "create table t (a int)", "--lake", lake, "--output", str(kept))
    assert none.code == ExitCode.USAGE
    assert "no statement returns rows" in none.err
    for wrong in ("/dev/null", str(tmp_path), str(tmp_path / "link.csv")):
        done = embedlake("sql", "select 1", "--lake", lake, "--format", "csv", "--output", wrong)
        assert (done.code, "is no file, or a link" in done.err) == (ExitCode.USAGE, True)
    assert kept.read_text() == "old"
