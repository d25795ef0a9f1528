"""A picture beside words is taught to be read as both, and a picture alone is read as before."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from operators.model.fused.config import FusedConfig
from operators.model.fused.network import FusedNetwork
from operators.model.tokens import FastTokenizer
from pipelines.training.joint import Item, Reader, Seen
from pipelines.training.mixing import MixingRecipe, teach_mixtures

torch.set_num_threads(1)
SMALL = FusedConfig(
    hidden=32, layers=2, heads=4, intermediate=64, vocabulary=60, positions=64, vision_groups=(8, 4), picture_tokens=3,
    image_classes=9, image_anchors=8, image_components=(4, 2), audio_dim=12, audio_candidates=2, audio_words=50,
    widths=(32, 16),
)  # fmt: skip
NAMES = ("dog", "cat", "horse", "cow", "hen", "pig")
WISHES = tuple((f"wish{i}", f"topic{i}") for i in range(8))


def reader() -> Reader:
    words = ["?", *NAMES, *(word for wish in WISHES for word in wish), ":"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    return Reader(FusedNetwork(SMALL).eval(), FastTokenizer(tokenizer), remember=False)


def test_mixtures_come_nearer_to_their_answers_and_nothing_else_moves() -> None:
    read = reader()
    before = {name: tensor.clone() for name, tensor in read.network.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    concepts = torch.nn.functional.normalize(torch.randn(len(NAMES), 32, generator=generator), dim=1)
    subjects = [(Seen(concept), name) for concept, name in zip(concepts, NAMES, strict=True)]
    alone: list[Item] = [(seen,) for seen, _ in subjects]
    as_before = read.all(alone)
    told: list[int] = []
    recipe = MixingRecipe(steps=40, subjects=3, wishes=4, rate=3e-3)
    losses = teach_mixtures(read, subjects, WISHES, recipe, lambda step, _: told.append(step))
    assert told == list(range(40))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    moved = {k for k, v in read.network.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(name.startswith("vision.beside.") for name in moved)
    torch.testing.assert_close(read.all(alone), as_before, rtol=0, atol=0)
