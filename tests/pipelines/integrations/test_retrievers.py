"""The frameworks' own retrievers over a real lake: they find what a search finds, and follow what readers see."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.model.registry import FAMILIES
from pipelines.integrations import langchain_retriever, llamaindex_retriever
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.spaces import promote
from schemas.corpus import Backfill
from schemas.errors import LakeError, ModelError, UsageError
from tests.lakes import make_lake
from tests.models.hashed import DIM, HashSpec
from tests.pipelines.wear import CORPUS, SPACE, SPEC, Worn, texts

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

REPO = Path(__file__).resolve().parents[3]
Retrieve = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The folder of the model of that name."""
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")

    def made(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "embedlake.json").write_text('{"family": "hashed"}')
        return str(folder)

    return made


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    made = Worn(str(tmp_path / "lake"))
    made.night(texts(*"abcd"))
    return made


def with_langchain(*given: Any, **named: Any) -> Callable[[str], list[dict[str, Any]]]:
    retriever = langchain_retriever(*given, **named)
    return lambda text: [{"id": d.id, "text": d.page_content, **d.metadata} for d in retriever.invoke(text)]


def with_llamaindex(*given: Any, **named: Any) -> Callable[[str], list[dict[str, Any]]]:
    retriever = llamaindex_retriever(*given, **named)
    return lambda text: [
        {"id": n.node.node_id, "text": n.node.get_content(), **n.node.metadata, "score": n.score}
        for n in retriever.retrieve(text)
    ]


@pytest.fixture(params=[with_langchain, with_llamaindex])
def retrieve(request: pytest.FixtureRequest) -> Callable[..., Callable[[str], list[dict[str, Any]]]]:
    return request.param  # type: ignore[no-any-return]


def test_it_finds_what_a_search_finds(retrieve: Retrieve, worn: Worn, model: Callable[[str], str]) -> None:
    found = retrieve(worn.lake, model=model("worn"), width=16, k=3, where="ordinal = 0")("secretc one")
    query = Query(parts=(("text", "secretc one"),), width=16, limit=3, where="ordinal = 0")
    hits = Searcher(LakeReader.open(worn.lake), None, SPEC).search(query)
    assert [(one["uri"], one["source"], one["score"]) for one in found] == [
        (h.uri, h.uri, h.score) for h in hits
    ]
    assert len(found) == 3
    first = found[0]
    assert first["id"] == hits[0].row["segment_id"]
    assert (first["text"], first["space"], first["ordinal"]) == ("secretc one part0", SPACE.id, 0)
    assert not {name for name in first if name.startswith("embedding_")}
    assert None not in first.values()
    assert json.dumps(found)


def test_it_follows_nights_without_loading_the_model_again(
    retrieve: Retrieve, worn: Worn, model: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = retrieve(worn.lake, model=model("worn"), k=1)
    monkeypatch.setattr(HashSpec, "load", None)
    assert ask("secretz new part0")[0]["uri"] != "s/z.txt"
    monkeypatch.undo()
    worn.night({**texts(*"abcd"), **texts("z", version="new")})
    monkeypatch.setattr(HashSpec, "load", None)
    assert ask("secretz new part0")[0]["uri"] == "s/z.txt"


def test_after_a_promotion_it_wants_the_model_of_the_new_space(
    retrieve: Retrieve, worn: Worn, model: Callable[[str], str]
) -> None:
    ask = retrieve(worn.lake, model=model("worn"), k=1)
    other = Worn(worn.lake, spec=HashSpec("other"), backfill=Backfill(model="other"))
    other.night(texts(*"abcd"))
    promote(worn.lake, CORPUS, other.space.id, force=True)
    with pytest.raises(ModelError, match="tests/other"):
        ask("secreta")


def test_a_segment_without_text_is_found_too(
    retrieve: Retrieve, tmp_path: Path, model: Callable[[str], str]
) -> None:
    lake = str(tmp_path / "lake")
    make_lake(lake, {"a.png": None, "b.txt": "a boat"}, vectors=np.eye(2, DIM, dtype=np.float32))
    found = retrieve(lake, model=model("one"))("a cat")
    assert {one["uri"]: one["text"] for one in found} == {"a.png": "", "b.txt": "a boat"}
    assert [one["where"] for one in found if one["uri"] == "b.txt"] == ["chars 0-6"]


def test_mistakes_are_named(retrieve: Retrieve, worn: Worn, model: Callable[[str], str]) -> None:
    named = model("worn")
    with pytest.raises(UsageError, match="width 7"):
        retrieve(worn.lake, model=named, width=7)
    with pytest.raises(LakeError, match="no corpus 'x'"):
        retrieve(worn.lake, "x", named)
    with pytest.raises(ModelError, match="vectors of two models"):
        retrieve(worn.lake, model=model("another"))
    with pytest.raises(UsageError, match="nonsense"):
        retrieve(worn.lake, model=named, where="nonsense = 1")("secreta")


def test_many_threads_and_the_async_call_get_the_same_answer(worn: Worn, model: Callable[[str], str]) -> None:
    retriever = langchain_retriever(worn.lake, model=model("worn"), k=2)
    expected = retriever.invoke("secretb one")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(retriever.invoke, ["secretb one"] * 8))
    assert answers == [expected] * 8
    assert asyncio.run(retriever.ainvoke("secretb one")) == expected


def test_retrievers_compose_as_the_framework_s_own_do(worn: Worn, model: Callable[[str], str]) -> None:
    from langchain_core.runnables import RunnableLambda

    chain = langchain_retriever(worn.lake, model=model("worn"), k=1) | RunnableLambda(lambda docs: docs[0].id)
    assert (
        chain.invoke("secretd one part1")
        == langchain_retriever(worn.lake, model=str(Path(worn.lake).parent / "worn"), k=1)
        .invoke("secretd one part1")[0]
        .id
    )


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("langchain_core", "langchain_retriever", "langchain"),
        ("llama_index", "llamaindex_retriever", "llamaindex"),
    ],
)
def test_without_the_extra_the_error_names_it(package: str, call: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from pipelines.integrations import {call}\n"
        f"from schemas.errors import UsageError\n"
        f"try: {call}('lake')\n"
        f"except UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert f"pip install 'embedlake[{extra}]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
