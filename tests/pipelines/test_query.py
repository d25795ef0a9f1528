"""A search blames what is at fault: the filter, the query's file, the lake, or the model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from operators.lake.layout import Layout
from operators.model.contract import ModelSpec
from operators.model.registry import FAMILIES
from pipelines.query import Query, Searcher, model_of
from pipelines.reader import LakeReader
from schemas.card import Modality
from schemas.errors import LakeError, ModelError, SourceError, UsageError
from tests.lakes import SPEC, make_lake

TEXTS = {"a.txt": "the cat sat", "b.txt": "a boat far away"}
WORDS = (("text", "cat sat"),)


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def searcher(lake: str) -> Searcher:
    make_lake(lake, TEXTS)
    return Searcher(LakeReader.open(lake), None, cast(ModelSpec, SPEC))


def test_the_best_segment_comes_first_at_every_width(searcher: Searcher) -> None:
    for width in (None, 16, 8):
        first, second = searcher.search(Query(parts=WORDS, width=width))
        assert (first.uri, first.where, first.text) == ("a.txt", "chars 0-11", "the cat sat")
        assert first.score > second.score
    (only,) = searcher.search(Query(parts=WORDS, where="uri <> 'a.txt'", modality=Modality.TEXT))
    assert only.uri == "b.txt"
    assert len(searcher.search(Query(parts=WORDS, limit=1))) == 1


@pytest.mark.parametrize(
    "where", ["nonsense =", "absent = 1", "uri", "cast(uri as int) = 1", "nofun(uri) = 1"]
)
def test_a_wrong_filter_is_the_caller_s_fault(searcher: Searcher, where: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        searcher.search(Query(parts=WORDS, where=where))


@pytest.mark.parametrize("where", [None, "uri = 'a.txt'"])
def test_a_lake_that_cannot_be_read_is_not_the_filter_s_fault(
    lake: str, searcher: Searcher, where: str
) -> None:
    shutil.rmtree(Path(Layout(lake).space("demo", searcher.space.id), "data"))
    with pytest.raises(LakeError) as caught:
        searcher.search(Query(parts=WORDS, where=where))
    assert "--where" not in str(caught.value)
    assert lake in str(caught.value)


def test_a_query_file_without_credentials_names_the_file(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fs, _ = searcher.reader.storage.filesystem("s3://private/cat.png")
    fs.clear_instance_cache()
    with pytest.raises(SourceError, match=r"no credentials for s3://private/cat\.png"):
        searcher.embed((("image", "s3://private/cat.png"),))
    fs.clear_instance_cache()


def test_a_missing_query_file_is_named(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"not found: .*none\.png"):
        searcher.embed((("image", f"{tmp_path}/none.png"),))


def test_a_corpus_of_a_local_model_asks_for_its_folder(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lake(lake, TEXTS, model_id="my-model")
    reader = LakeReader.open(lake)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="made by the local model 'my-model': name its folder with --model"):
        model_of(reader, "demo", None)
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    folder = tmp_path / "elsewhere" / "my-model"
    folder.mkdir(parents=True)
    (folder / "embedlake.json").write_text('{"family": "hashed"}')
    assert model_of(reader, "demo", str(folder)).card.model_id == "tests/my-model"
    with pytest.raises(ModelError, match=r"'\./absent' does not exist"):
        model_of(reader, "demo", "./absent")
