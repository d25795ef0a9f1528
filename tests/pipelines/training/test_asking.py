"""Pages are asked what only page and question together tell, and learning it changes nothing but the roles."""

from __future__ import annotations

import random

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from operators.model.fused.asking import TextRole
from operators.model.fused.config import FusedConfig
from operators.model.fused.network import FusedNetwork
from operators.model.tokens import FastTokenizer
from pipelines.training.asking import AskingRecipe, teach_roles
from pipelines.training.data.pages import Questions
from pipelines.training.joint import Item, Reader

torch.set_num_threads(1)
SMALL = FusedConfig(
    hidden=32, layers=2, heads=4, intermediate=64, vocabulary=400, positions=256, vision_groups=(8, 4),
    picture_tokens=3, image_classes=9, image_anchors=8, image_components=(4, 2), audio_dim=12,
    audio_candidates=2, audio_words=50, widths=(32, 16),
)  # fmt: skip
TERMS = [f"term{chr(97 + i)}" for i in range(20)]
OWN = [f"page{chr(97 + i)}{chr(97 + j)}" for i in range(12) for j in range(20)]


def pages() -> list[str]:
    """Twelve pages of 150 words: each has words of its own and, once each, the terms of all pages."""
    rng = random.Random(0)
    found = []
    for number in range(12):
        words = [rng.choice(OWN[20 * number : 20 * (number + 1)]) for _ in range(130)]
        for term in TERMS:
            words.insert(rng.randrange(len(words)), term)
        found.append(" ".join(words))
    return found


def reader() -> Reader:
    words = ["[UNK]", *TERMS, *OWN, "where", "does", "it", "say", "?", "what", "of"]
    tokenizer = Tokenizer(
        WordLevel({word: i for i, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    return Reader(FusedNetwork(SMALL).eval(), FastTokenizer(tokenizer), remember=False, text_tokens=200)


def test_neither_the_page_nor_the_term_alone_tells_the_passage() -> None:
    questions = Questions.of(pages(), random.Random(0))
    drawn = questions.draw(100, random.Random(1))
    assert len({one.term for one in drawn}) > 10
    for one in drawn:
        mine = questions.passages[5 * one.page : 5 * one.page + 5]
        assert [p for p in mine if one.term in p.split()] == [questions.passages[one.passage]]
        assert sum(one.term in page.split() for page in questions.pages) > 5
        assert questions.pages[one.page] == " ".join(mine)
        assert one.term in one.question(random.Random(2))


@pytest.mark.parametrize("wished", [0.0, 1.0], ids=["questions", "wishes"])
def test_answers_come_nearer_to_what_asks_for_them_and_every_other_input_stays(wished: float) -> None:
    read = reader()
    before = {name: tensor.clone() for name, tensor in read.network.state_dict().items()}
    alone: list[Item] = [(page,) for page in pages()]
    as_before = read.all(alone)
    told: list[int] = []
    recipe = AskingRecipe(steps=80, pages=12, batch=8, wished=wished, side=4, rate=2e-2, sums=20.0)
    wishes = [(f"what of {term}", f"{term} is") for term in TERMS]
    losses = teach_roles(read, pages(), wishes, SMALL.widths, recipe, lambda step, _: told.append(step))
    assert told == list(range(80))
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10]), losses
    moved = {k for k, v in read.network.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"roles.weight"}
    assert not read.network.roles.weight[TextRole.PLAIN].any()
    torch.testing.assert_close(read.all(alone), as_before, rtol=0, atol=0)
