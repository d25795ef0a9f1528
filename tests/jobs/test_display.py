"""What comes from a corpus is shown as it is: never as markup, never as a terminal's control sequences."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from jobs.aside import stderr_aside
from jobs.display import Lines, Live, show_hits, show_report, show_status, show_table
from jobs.plain import plain
from pipelines.progress import Snapshot
from pipelines.query import Hit
from pipelines.status import CorpusStatus, LakeStatus
from schemas.errors import UsageError
from schemas.report import Counts, RunReport
from tests.lakes import NOW

HOSTILE = ("[/x]", "[red]in red[/red]", "\x1b[31mred", "\x1b]0;title\x07", "a\r\nb", "\u202egnp.exe")
SHOWN = ("[/x]", "[red]in red[/red]", "[31mred", "]0;title", "a b", "gnp.exe")


def hit(text: str, score: float = 0.5) -> Hit:
    return Hit(text, "text", score, "p. 1", text, {"uri": text, "text": text, "weight": float("inf")}, "s")


def report(lake: str, corpus: str = "demo") -> RunReport:
    return RunReport(
        run_id="r", corpus=corpus, lake=lake, space="s", model="m", started_at=NOW, finished_at=NOW,
        counts=Counts(listed=1, quarantined=1), quarantine_reasons={"corrupt": 1}, published_version=2,
        seconds={"embed": float("nan")}, log="x",
    )  # fmt: skip


def status(lake: str) -> LakeStatus:
    corpus = CorpusStatus(
        corpus="demo", space="s", model="m", widths=(8,), version=2, published_at=NOW, assets=1, embedded=1,
        quarantined=0, segments=1, segments_by_modality={"text": 1}, quarantine_reasons={}, source_bytes=1,
        last_run=None, spaces=(),
    )  # fmt: skip
    return LakeStatus(lake=lake, catalog_entry=2, corpora=(corpus,))


def lines_phase(text: str) -> None:
    screen = io.StringIO()
    Lines(screen).phase("list", text)
    print(screen.getvalue())


def live_phase(text: str) -> None:
    screen = io.StringIO()
    Live(Console(file=screen)).phase("list", text)
    print(screen.getvalue())


@pytest.mark.parametrize(("given", "shown"), zip(HOSTILE, SHOWN, strict=True))
@pytest.mark.parametrize(
    "show",
    [
        lambda text: show_hits([hit(text)], False),
        lambda text: show_table(pa.table({"a": [text], text: [1]}), False),
        lambda text: show_report(report(text), False),
        lambda text: show_status(status(text), False),
        lines_phase,
        live_phase,
    ],
    ids=["hits", "table", "report", "status", "lines", "live"],
)
def test_text_of_a_corpus_is_only_text(
    show: Callable[[str], None], given: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(given)
    out = capsys.readouterr().out
    assert shown in out
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(out)


def test_letters_of_every_script_stay() -> None:
    text = "naïve 日本 हिन्दी עברית 👩\u200d🔬"
    assert plain(text) == text


def test_half_a_character_cannot_stop_the_screen() -> None:
    assert plain("a\ud800b").encode() == b"ab"


@pytest.mark.parametrize(
    "show",
    [
        lambda: show_hits([hit("a", float("nan"))], True),
        lambda: show_table(pa.table({"n": [float("nan"), 1.0], "v": [[float("inf")], [0.5]]}), True),
        lambda: show_report(report("l"), True),
        lambda: show_status(status("l"), True),
    ],
    ids=["hits", "table", "report", "status"],
)
def test_json_has_no_number_that_is_not_json(
    show: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    show()
    json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_numbers_that_are_not_finite_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(pa.table({"n": [float("nan"), 1.5], "v": [[float("-inf"), 2.0], []]}), True)
    assert json.loads(capsys.readouterr().out)["rows"] == [{"n": None, "v": [None, 2.0]}, {"n": 1.5, "v": []}]


def test_the_live_block_names_what_was_quarantined() -> None:
    screen = io.StringIO()
    live = Live(Console(file=screen, force_terminal=True, width=160))
    with live.progress:
        live.phase("embed", "run r")
        live.update(Snapshot(assets=10, assets_done=5, failed=2, prepared=8, embedded=4))
        live.progress.refresh()
    assert "2 quarantined" in screen.getvalue()
    assert "[red]" not in screen.getvalue()


def test_assets_that_were_quarantined_again_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(report("l").model_copy(update={"published_version": None}), False)
    out = " ".join(capsys.readouterr().out.split())
    assert "nothing new: 1 assets quarantined again, 0 unchanged, nothing published" in out
    assert "quarantined: 1 x corrupt" in out


@pytest.fixture
def temporary(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("noise", "error"),
    [
        (b"noise", None),
        (b"noise", UsageError("x")),
        (b"noise", KeyboardInterrupt()),
        (b"", RuntimeError("x")),
    ],
    ids=["success", "a person's error", "interrupted", "nothing said"],
)
def test_native_noise_that_explains_nothing_is_not_kept(
    temporary: Any, noise: bytes, error: BaseException | None
) -> None:
    with suppress(BaseException), stderr_aside():
        os.write(2, noise)
        if error:
            raise error
    assert list(temporary.iterdir()) == []


def test_native_noise_of_an_unknown_error_is_kept_and_named(temporary: Any) -> None:
    def choke() -> None:
        with stderr_aside():
            os.write(2, b"segment 7 is odd")
            raise RuntimeError("x")

    with pytest.raises(RuntimeError) as caught:
        choke()
    (kept,) = temporary.iterdir()
    assert kept.read_bytes() == b"segment 7 is odd"
    assert str(kept) in caught.value.__notes__[0]
