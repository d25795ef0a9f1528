"""Retrieval sets hold what they say, and an evaluation's table is the same by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from operators.model.registry import BASELINE_MODEL, FAMILIES
from pipelines.evaluation.items import ImageFile, PdfPage, Sound
from pipelines.evaluation.mixtures import TOPICS
from pipelines.evaluation.run import evaluate_model
from pipelines.evaluation.sets import SETS, Kind, RetrievalSet, build
from pipelines.training.data.speech import is_test_sentence
from schemas.errors import UsageError
from tests.models.hashed import HashSpec
from tests.pipelines.evaluation import tiny_data

TINY = [name for name in SETS if name not in ("emoji", "clip-art")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", TINY)
def test_a_set_has_an_answer_for_every_query_and_is_the_same_by_seed(name: str, data: Path) -> None:
    task, again, other = (build(name, data, seed) for seed in (0, 0, 1))
    assert task.name == name
    assert len(task.queries) == len(task.relevant) > 3
    assert all(answers and answers <= set(range(len(task.gallery))) for answers in task.relevant)
    assert shown(task) == shown(again) != shown(other)
    assert len(build(name, data, most=3).queries) == 3
    assert len(build(name, data, most=3).gallery) > 3


def shown(task: RetrievalSet) -> list[str]:
    return [
        str([int(m.samples.sum()) if isinstance(m, Sound) else m for m in query]) for query in task.queries
    ]


def test_wordnet_asks_only_for_sentences_of_the_test_fold(data: Path) -> None:
    gallery = [item[0] for item in build("wordnet", data).gallery]
    assert all(isinstance(s, str) and is_test_sentence(s) for s in gallery)
    assert set(gallery) == set(tiny_data.SENTENCES)


def test_a_manual_s_passage_does_not_hold_its_heading(data: Path) -> None:
    task = build("manual", data)
    assert {q[0] for q in task.queries} == {f"1.{i} {h}" for i, h in enumerate(tiny_data.HEADINGS)}
    for query, answers in zip(task.queries, task.relevant, strict=True):
        assert len(answers) == 2, "both manuals have this heading"
        assert not any(str(query[0])[4:] in str(task.gallery[row][0]) for row in answers)
        assert not any("Running head" in str(task.gallery[row][0]) for row in answers)


def test_no_part_of_a_crossed_query_tells_the_answer_alone(data: Path) -> None:
    for name, kind in (("picture+words", ImageFile), ("speech+words", Sound)):
        task = build(name, data)
        assert task.kind is Kind.COMPOSED
        assert all(isinstance(medium, kind) and isinstance(words, str) for medium, words in task.queries)
        assert len(task.gallery) == 30 * len(TOPICS)
        asked = [words for _, words in task.queries]
        (row,) = task.relevant[0]
        topic = TOPICS[[words for words, _ in TOPICS].index(str(asked[0]))][1].split("{")[0]
        assert str(task.gallery[row][0]).startswith(topic)
        assert sum(str(item[0]).startswith(topic) for item in task.gallery) == 30


def test_a_page_s_question_names_a_term_of_one_of_its_passages_only(data: Path) -> None:
    task = build("page+question", data)
    passages: dict[str, int] = {}
    for (page, question), answers in zip(task.queries, task.relevant, strict=True):
        assert isinstance(page, PdfPage)
        term = str(question).removeprefix("where does it say ").removesuffix("?")
        holding = {row for row, item in enumerate(task.gallery) if term in str(item[0])}
        assert answers < holding
        assert len(holding) == 2 * len(tiny_data.HEADINGS), "every page has the term"
        passages[term] = passages.get(term, 0) + 1
    assert set(passages) == set(tiny_data.TERMS)


def test_an_unknown_set_lists_the_known(data: Path) -> None:
    with pytest.raises(UsageError, match="no evaluation set 'nothing': known are wordnet, manual"):
        build("nothing", data)


def test_the_table_has_every_system_and_width_and_is_the_same_by_seed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "composed", "tests.models.hashed:HashSpec")
    names = ["wordnet", "unseen-voices", "picture+words"]
    report = evaluate_model(HashSpec("mine"), data, names)
    assert report.model == "tests/mine"
    systems = {(line.task, line.system) for line in report.lines}
    assert systems == {
        ("wordnet", "tests/mine"), ("wordnet", "MiniLM"),
        ("unseen-voices", "tests/mine"), ("unseen-voices", "ASR cascade"),
        ("picture+words", "tests/mine"), ("picture+words", BASELINE_MODEL),
        ("picture+words", "picture alone"), ("picture+words", "words alone"), ("picture+words", "average of parts"),
    }  # fmt: skip
    assert [line.width for line in report.lines if line.system == "tests/mine"] == [32, 16, 8] * 3
    assert report.kept[32] == 1.0
    wordnet = report.line("wordnet")
    assert wordnet is not None
    assert wordnet.mean("R@10") > 0.8 > wordnet.chance, "queries and answers share words"
    interval = wordnet.scores["R@10"]
    assert interval.low <= interval.mean <= interval.high
    assert {bar.what for bar in report.bars} >= {
        "wordnet: nDCG@10 over MiniLM",
        "width 128: mean nDCG@10 kept",
    } - {"width 128: mean nDCG@10 kept"}
    assert evaluate_model(HashSpec("mine"), data, names) == report


def test_vectors_are_remembered_by_model_and_by_content(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[int] = []
    from tests.models.hashed import HashEngine

    real = HashEngine.embed
    monkeypatch.setattr(
        HashEngine, "embed", lambda self, inputs: (calls.append(len(inputs)), real(self, inputs))[1]
    )
    folder = tiny_data.write(tmp_path / "data")
    first = evaluate_model(HashSpec("a"), folder, ["tuxpaint"], baselines=False)
    spent = sum(calls)
    assert spent > 0
    assert evaluate_model(HashSpec("a"), folder, ["tuxpaint"], baselines=False) == first
    assert sum(calls) == spent, "nothing was embedded again"
    evaluate_model(HashSpec("b"), folder, ["tuxpaint"], baselines=False)
    assert sum(calls) == 2 * spent, "another model's vectors are other vectors"
    picture = next(folder.rglob("s0.png"))
    picture.write_bytes(next(folder.rglob("s1.png")).read_bytes())
    evaluate_model(HashSpec("a"), folder, ["tuxpaint"], baselines=False)
    assert sum(calls) > 2 * spent, "a picture that changed is embedded again"


def test_the_composed_model_is_its_own_baseline_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "composed", "tests.models.hashed:HashSpec")
    from operators.model.registry import resolve

    class Named(HashSpec):
        @property
        def card(self):  # type: ignore[no-untyped-def]
            return super().card.model_copy(update={"model_id": BASELINE_MODEL})

    assert resolve(BASELINE_MODEL).card.model_id != BASELINE_MODEL
    report = evaluate_model(Named(), data, ["wordnet"])
    assert {line.system for line in report.lines} == {BASELINE_MODEL}


def test_intervals_and_chance_are_in_every_line(data: Path) -> None:
    report = evaluate_model(HashSpec(), data, ["human-english"], baselines=False)
    for line in report.lines:
        assert line.queries == 6
        assert line.gallery == len(tiny_data.STAMPS)
        assert np.isclose(line.chance, 10 / len(tiny_data.STAMPS))
