"""embedlake's functions in SQL: by the model of the vectors that they meet, of constants alone, and never a way out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.lake.layout import Layout
from operators.lake.tables import Table
from operators.model.registry import FAMILIES
from operators.storage import Storage
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.sql import Session, opened
from pipelines.sql_calls import Statement, define
from schemas.errors import LakeError, ModelError, UsageError
from tests.lakes import SPEC, make_lake
from tests.models.hashed import HashSpec

REPO = Path(__file__).resolve().parents[2]
TEXTS = {"a.txt": "the cat sat", "b.txt": "a boat far away", "it's.txt": "a dog"}
Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the models `one`, which made the lakes, and `other`."""
    parent = tmp_path_factory.mktemp("models")
    for name in ("one", "other"):
        (parent / name).mkdir()
        (parent / name / "embedlake.json").write_text('{"family": "hashed"}')
    return {name: str(parent / name) for name in ("one", "other")}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    lake = str(tmp_path_factory.mktemp("functions") / "lake")
    make_lake(lake, TEXTS)
    return lake


@pytest.fixture(autouse=True)
def hashed_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")


@pytest.fixture
def session(lake: str, folders: dict[str, str]) -> Iterator[Session]:
    with opened(LakeReader.open(lake), model=folders["one"]) as session:
        yield session


@pytest.fixture
def ask(session: Session) -> Ask:
    return lambda text: [row for result in session.run(text) for row in result.table().to_pylist()]


@pytest.fixture
def searcher(lake: str) -> Searcher:
    return Searcher(LakeReader.open(lake), None, SPEC)  # type: ignore[arg-type]


def test_embed_gives_the_vector_that_a_search_would_take(ask: Ask, searcher: Searcher) -> None:
    vector = searcher.embed((("text", "it's a cat"),))
    ((row),) = ask(
        "select embed('it''s a cat') as whole, typeof(whole) as kind, embed('it''s a cat', width := 8) as cut"
    )
    np.testing.assert_allclose(row["whole"], vector, rtol=1e-6)
    assert row["kind"] == "FLOAT[32]"
    np.testing.assert_allclose(row["cut"], searcher.at(vector, 8), rtol=1e-6)


@pytest.mark.parametrize("width", [32, 16, 8])
def test_cosine_ranks_as_a_search_does(ask: Ask, searcher: Searcher, width: int) -> None:
    rows = ask(
        f"select uri, cosine(embedding_{width}, embed('the cat', width := {width})) as score from demo order by 2 desc"
    )
    hits = searcher.search(Query(parts=(("text", "the cat"),), width=width))
    assert [row["uri"] for row in rows] == [hit.uri for hit in hits]
    np.testing.assert_allclose([row["score"] for row in rows], [hit.score for hit in hits], atol=1e-5)


@settings(max_examples=25)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(-100, 100, width=32), min_size=n, max_size=n)] * 2)
    )
)
def test_cosine_is_the_cosine_whatever_the_float_type(pair: tuple[list[float], list[float]]) -> None:
    a, b = (np.asarray(v, np.float64) for v in pair)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms < 1e-3:
        return
    with duckdb.connect() as connection:
        define(connection)
        types = (f"FLOAT[{len(a)}]", "FLOAT[]", f"DOUBLE[{len(a)}]", "DOUBLE[]")
        columns = ", ".join(f"cosine($1::{x}, $2::{y})" for x in types for y in types)
        (found,) = connection.execute(f"select {columns}", [list(a), list(b)]).fetchall()
    np.testing.assert_allclose(found, float(a @ b) / norms, atol=1e-4)


def test_cosine_of_a_null_is_null_and_of_two_widths_an_error(ask: Ask) -> None:
    (row,) = ask("select cosine(embedding_8, null) as a, cosine(null, embedding_8) as b from demo limit 1")
    assert row == {"a": None, "b": None}
    with pytest.raises(UsageError, match="dimensions must be equal"):
        ask("select cosine(embedding_16, embed('cat', width := 8)) from demo")


def test_vector_search_is_a_table_of_the_search_s_rows(ask: Ask, searcher: Searcher) -> None:
    hits = searcher.search(Query(parts=(("text", "the cat"),), limit=2))
    rows = ask("select * from vector_search('demo', 'the cat', k := 2)")
    assert [(row["uri"], round(row["score"], 5)) for row in rows] == [
        (h.uri, round(h.score, 5)) for h in hits
    ]
    schema = LakeReader.open(searcher.reader.layout.lake).segments("demo").schema
    assert [*rows[0]] == [*schema.names, "score"]
    wide = ask(
        "select v.uri, cosine(v.embedding_32, embed('the cat')) as wide, d.size from vector_search('demo', "
        "embed('the cat', 'query'), width := 8, filter := 'uri <> ''it''''s.txt''', modality := 'text') v "
        "join demo__assets d using (uri) order by 2 desc"
    )
    assert [(row["uri"], row["size"]) for row in wide] == [("a.txt", 3), ("b.txt", 3)]
    nested = "with best as (from vector_search('demo', 'the cat', 1)) select uri from best"
    assert ask(nested) == [{"uri": "a.txt"}]
    assert ask(
        "select uri from demo where uri in (select uri from vector_search('demo', 'dog', k := 1))"
    ) == [{"uri": "it's.txt"}]


def test_a_column_keeps_the_title_that_was_written(session: Session) -> None:
    (result,) = session.run(
        "select embed('a'), cosine(embedding_8, EMBED('b', width := 8)) + 1, embed('c') as c from demo"
    )
    assert result.rows().schema.names == [
        "embed('a')",
        "(cosine(embedding_8, embed('b', width := 8)) + 1)",
        "c",
    ]


def test_words_that_look_like_calls_are_only_words(ask: Ask) -> None:
    assert ask("select 'embed(''x'')' as embed, $$vector_search('demo', 'x')$$ as vector_search") == [
        {"embed": "embed('x')", "vector_search": "vector_search('demo', 'x')"}
    ]
    assert ask("select 1 as a -- embed('x')") == [{"a": 1}]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("select embed(uri) from demo", "takes constants"),
        ("select embed('a' || 'b')", "takes constants"),
        ("from demo, vector_search('demo', demo.text)", "takes constants"),
        ("select embed()", "text: Field required"),
        ("select embed(null)", "text: Input should be a valid string"),
        ("select embed('a', 'query', 8, 'demo', 'more')", "no more"),
        ("select embed('a', text := 'b')", "text is given twice"),
        ("select embed('a', wdth := 8)", "wdth: Extra inputs"),
        ("select embed('a', width := 7)", "width 7 is not in the lake; choose one of 32, 16, 8"),
        ("select embed('a', width := '8')", "width: Input should be a valid integer"),
        ("select embed('a', 'fly')", "task 'fly' is not one of the model's: query, document"),
        ("from vector_search('demo', 'a', k := 0)", "k: Input should be greater"),
        ("from vector_search('demo', 'a', k := 10001)", "k: Input should be less"),
        ("from vector_search('demo', 'a', modality := 'smell')", "modality: Input should be"),
        ("from vector_search('demo', embed('a', width := 8))", "its own arguments"),
        ("from vector_search('demo', 'a', filter := 'nonsense =')", "filter 'nonsense ='"),
        ("from vector_search('demo', 'a', filter := 'tokens = 1) OR (tokens = 2')", "not one expression"),
        ("from vector_search('demo', 'a', filter := 'tokens = 1 --')", "not one expression"),
        ("from vector_search('demo', 'a', filter := 'tokens = 1; drop table x')", "not one expression"),
        ("select vector_search('demo', 'a')", "stands behind FROM"),
        ("create table t as select embed('a')", "stands in a SELECT statement only"),
        ("select main.embed('a')", "stands in a SELECT statement only"),
        ("create macro m(x) as embed(x); select m('a')", "stands in a SELECT statement only"),
        ("select embed('a'" + " + (1" * 3000 + ")" * 3001, "SQL: "),
    ],
)
def test_a_wrong_call_is_one_line(ask: Ask, statement: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(statement)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_corpus_is_the_lake_s_answer_whatever_its_name(ask: Ask) -> None:
    for name in ("absent", 'demo"; drop view demo; --', "demo') or ('"):
        with pytest.raises(LakeError, match="no corpus"):
            ask(f"from vector_search('{name.replace(chr(39), chr(39) * 2)}', 'a')")
    assert ask("select count(*) as n from demo") == [{"n": 3}]


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def parser() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        define(connection)
        yield connection


@given(text=_TEXT)
@settings(max_examples=50)
def test_a_text_reaches_the_model_as_it_was_written(parser: duckdb.DuckDBPyConnection, text: str) -> None:
    calls: list[Any] = []

    def answer(call: Any) -> str:
        calls.append(call)
        return "x"

    statement = f"select embed('{text.replace(chr(39), chr(39) * 2)}') as e"
    assert Statement(parser, statement).rewritten(answer) == "SELECT getvariable('x') AS e"
    assert [call.text for call in calls] == [text]


def test_a_model_that_did_not_make_the_vectors_is_refused(lake: str, folders: dict[str, str]) -> None:
    for statement in ("select embed('a')", "from vector_search('demo', 'a')"):
        with (
            opened(LakeReader.open(lake), model=folders["other"]) as session,
            pytest.raises(ModelError, match="two models cannot be compared"),
        ):
            list(session.run(statement))
    with opened(LakeReader.open(lake)) as session, pytest.raises(ModelError, match="tests/one"):
        list(session.run("select embed('a')"))


def test_a_vector_meets_only_vectors_of_its_model(tmp_path: Path, folders: dict[str, str]) -> None:
    lake = str(tmp_path / "lake")
    make_lake(lake, TEXTS)
    make_lake(lake, TEXTS, corpus="strangers", spec=HashSpec("other"))

    def run(statement: str, model: str = "one", corpus: str | None = None) -> list[Any]:
        with opened(LakeReader.open(lake), model=folders[model], corpus=corpus) as session:
            return [row for result in session.run(statement) for row in result.table().to_pylist()]

    near = "select max(cosine(embedding_32, embed('a dog'))) as best from {}"
    assert round(run(near.format("demo"))[0]["best"], 4) == 1, (
        "the model of the table that the statement names"
    )
    assert round(run(near.format("strangers"), "other")[0]["best"], 4) == 1
    assert round(run(near.format("strangers"), "other", corpus="demo")[0]["best"], 4) == 1
    with pytest.raises(ModelError, match="no table of the statement holds vectors of it"):
        run("select cosine(embedding_32, embed('a dog', corpus := 'demo')) from strangers")
    both = "select cosine(demo.embedding_32, embed('a dog')) from demo join strangers using (uri)"
    with pytest.raises(ModelError, match="several models"):
        run(both)
    assert len(run(both, corpus="demo")) == 3
    assert len(run(both.replace("'a dog'", "'a dog', corpus := 'demo'"))) == 3
    with pytest.raises(LakeError, match="several corpora"):
        run("select embed('a dog')")


def test_vectors_of_two_bytes_answer_as_those_of_four_do(tmp_path: Path, folders: dict[str, str]) -> None:
    lake = str(tmp_path / "lake")
    make_lake(lake, TEXTS, vector_type="float16")
    with opened(LakeReader.open(lake), model=folders["one"]) as session:

        def ask(text: str) -> list[dict[str, Any]]:
            return [row for result in session.run(text) for row in result.table().to_pylist()]

        assert ask(
            "select typeof(embedding_8) as kind, count(*) as n from demo where tokens = 1 group by 1"
        ) == [{"kind": "FLOAT[8]", "n": 3}]
        near = "select a.uri, round(cosine(a.embedding_32, embed('a dog')), 2) as score from demo a join demo b " \
               "using (segment_id) join vector_search('demo', 'a dog', k := 1) using (segment_id)"  # fmt: skip
        assert ask(near) == [{"uri": "it's.txt", "score": 1.0}]
        assert len(ask("select * from demo")[0]["embedding_32"]) == 32


def test_what_a_search_leaves_goes_with_the_next_statement(ask: Ask) -> None:
    ask("from vector_search('demo', 'cat')")
    assert not [row for row in ask("show tables") if row["name"].startswith("embedlake_")]


def test_a_session_cannot_change_the_lake(session: Session, lake: str) -> None:
    space = LakeReader.open(lake).catalog.corpora["demo"].live
    version = Table(Layout(lake).space("demo", space), Storage()).open().version
    for statement in (
        "drop view demo",
        "update demo set text = ''",
        "create or replace view demo as select 1",
        "truncate demo",
        "alter table demo drop column text",
    ):
        with suppress(UsageError):
            list(session.run(statement))
    reader = LakeReader.open(lake)
    assert Table(Layout(lake).space("demo", space), Storage()).open().version == version
    assert reader.segments("demo").count_rows() == len(TEXTS)


def test_a_statement_without_vectors_loads_no_model_library(lake: str) -> None:
    code = (
        "import sys; from pipelines.reader import LakeReader; from pipelines.sql import query\n"
        f"assert query(LakeReader.open({lake!r}), 'select count(*) as n from demo').to_pylist() == [{{'n': 3}}]\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
