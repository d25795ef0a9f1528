"""The trainer that makes the shipped model fine-tunes EmbeddingGemma 2's class as well."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from operators.model.gemma_engine import GemmaEngine
from operators.parts import Part, PartKind
from pipelines.training.gemma import GemmaTexts, with_task
from pipelines.training.trainer import Pairs, Stage, Trainer
from tests.models.tiny_gemma import build_tiny_gemma

torch.set_num_threads(1)
NOUNS = ["cat", "dog", "boat", "task", "title", "none", "text", "search"]


def pairs(size: int, rng: random.Random) -> Pairs[str]:
    nouns = rng.sample(NOUNS, size)
    return Pairs(
        queries=[with_task(n, "task: search result | query: ", rng) for n in nouns],
        positives=[with_task(f"{n} {n}", "title: none | text: ", rng) for n in nouns],
        query_ids=[NOUNS.index(n) for n in nouns],
        positive_ids=[NOUNS.index(n) for n in nouns],
    )


def test_gemma_learns_pairs_at_every_width(tmp_path: Path) -> None:
    model = GemmaTexts(build_tiny_gemma(tmp_path / "gemma"))
    stage = Stage(name="tune", steps=25, batch=6, chunk=12, rate=3e-3, warmup=2, shares={"pairs": 1.0})
    trainer: Trainer[str] = Trainer(model, model, {"pairs": pairs}, (48, 16), tmp_path / "run")
    losses = trainer.run([stage])
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_task_strings_are_dropped_at_random() -> None:
    rng = random.Random(0)
    told = [with_task("x", "task: ", rng, drop=0.3) for _ in range(500)]
    assert set(told) == {"x", "task: x"}
    assert 0.2 < told.count("x") / 500 < 0.4


def test_vectors_are_those_of_the_engine_that_serves_the_model(tmp_path: Path) -> None:
    folder = build_tiny_gemma(tmp_path / "gemma")
    model = GemmaTexts(folder).eval()
    texts = ["a cat", "search for a boat or a dog"]
    with torch.no_grad():
        found = model(texts)
    engine = GemmaEngine.read(folder, "tiny", torch.device("cpu"), budget=1_000)
    counter = model.tokenizer
    rows = [np.concatenate([counter.prefix, counter.ids(t), counter.suffix]) for t in texts]
    expected = torch.from_numpy(engine.embed([(Part(PartKind.TOKENS, None, row),) for row in rows]))
    assert torch.cosine_similarity(found, expected).min() > 0.9999
