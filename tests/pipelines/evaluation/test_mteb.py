"""mteb runs its tasks on the project's models: text, pictures, sound and rows of several columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.card import Modality
from schemas.errors import ModelError
from tests.models.hashed import DIM, HashSpec

mteb = pytest.importorskip("mteb", reason="the extra 'evaluate'")

from datasets import Dataset  # noqa: E402
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from pipelines.evaluation.mteb import LakeEncoder, meta_of, rows_of  # noqa: E402

WORDS = ("lighthouse", "bicycle", "volcano", "piano")
COLOURS = ((250, 250, 250), (10, 10, 10), (250, 10, 10), (130, 130, 70))


def metadata(name: str, category: str, modalities: list[str]) -> TaskMetadata:
    return TaskMetadata(
        name=name, dataset={"path": "tests/none", "revision": "1"}, description="offline", reference=None,
        type="Retrieval" if modalities == ["text"] else "Any2AnyRetrieval", category=category, modalities=modalities,
        eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10", date=None, domains=None,
        task_subtypes=None, license=None, annotations_creators=None, dialect=None, sample_creation=None,
        bibtex_citation="",
    )  # fmt: skip


def offline(corpus: list[dict[str, Any]], queries: list[dict[str, Any]]) -> dict[str, Any]:
    """A dataset in which query i is answered by document i."""
    ids = [str(i) for i in range(len(queries))]
    return {
        "default": {
            "test": {
                "corpus": Dataset.from_list(
                    [{"id": f"d{i}", **row} for i, row in zip(ids, corpus, strict=True)]
                ),
                "queries": Dataset.from_list(
                    [{"id": f"q{i}", **row} for i, row in zip(ids, queries, strict=True)]
                ),
                "relevant_docs": {f"q{i}": {f"d{i}": 1} for i in ids},
                "top_ranked": None,
            }
        }
    }


class TextTask(AbsTaskRetrieval):
    metadata = metadata("TinyText", "t2t", ["text"])

    def load_data(self, *_: Any, **__: Any) -> None:
        corpus = [{"title": "", "text": f"an old {word} stands here"} for word in WORDS]
        self.dataset, self.data_loaded = offline(corpus, [{"text": word} for word in WORDS]), True


class PictureTask(AbsTaskRetrieval):
    metadata = metadata("TinyPicture", "i2i", ["image"])

    def load_data(self, *_: Any, **__: Any) -> None:
        small = [{"image": Image.new("RGB", (20, 30), colour)} for colour in COLOURS]
        large = [{"image": Image.new("RGB", (90, 60), colour)} for colour in COLOURS]
        self.dataset, self.data_loaded = offline(small, large), True


@pytest.mark.parametrize("task", [TextTask, PictureTask])
def test_a_task_runs_offline_and_finds_every_answer(task: type[AbsTaskRetrieval]) -> None:
    result = mteb.evaluate(
        LakeEncoder(HashSpec()), task(), cache=None, show_progress_bar=False, co2_tracker=False
    )
    assert result.model_name == "tests/a"
    scores = result.task_results[0].scores["test"][0]
    assert scores["ndcg_at_10"] == pytest.approx(1.0)


def test_vectors_are_unit_at_the_width_asked_for() -> None:
    batch = [{"text": list(WORDS)}]
    for width in (DIM, 8):
        encoder = LakeEncoder(HashSpec(), width=width)
        vectors = encoder.encode(batch, task_metadata=None, hf_split="test", hf_subset="default")
        assert vectors.shape == (4, width)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    with pytest.raises(ModelError, match="not 7"):
        LakeEncoder(HashSpec(), width=7)


def test_columns_of_a_row_are_one_fused_input() -> None:
    second = {"array": np.ones((2, 48_000)) * 0.5, "sampling_rate": 48_000}
    batch = {
        "text": ["a red thing", None],
        "image": [Image.new("RGB", (9, 9)), None],
        "audio": [None, second],
    }
    both, heard = rows_of(batch, HashSpec().card)
    assert [str(part.kind) for part in both] == ["image", "text"]
    assert [str(part.kind) for part in heard] == ["audio"]
    assert heard[0].array.dtype == np.int16
    assert abs(len(heard[0].array) - 16_000) <= 1
    assert abs(int(np.median(heard[0].array)) - 16_383) < 200


def test_what_a_model_does_not_take_is_one_clear_error() -> None:
    words_only = HashSpec(modalities=(Modality.TEXT,))
    with pytest.raises(ModelError, match="takes none of image"):
        list(rows_of({"image": [None]}, words_only.card))


def test_the_meta_data_name_the_modalities_and_the_weights() -> None:
    meta = meta_of(HashSpec().card)
    assert set(meta.modalities) == {"text", "image", "audio"}
    assert meta_of(HashSpec(modalities=(Modality.TEXT,)).card).modalities == ["text"]
    assert HashSpec().card.weights_digest.startswith(str(meta.revision))
