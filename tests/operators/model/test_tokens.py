from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.model.tokens import FastTokenizer
from schemas.errors import ModelError


@pytest.fixture(scope="module")
def tokenizer(tiny_text: Path) -> FastTokenizer:
    return FastTokenizer.from_folder(tiny_text)


@given(st.text(alphabet="abc xyz.é漢😀[]|<>\n", max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_spans_lie_in_the_text_in_order(tokenizer: FastTokenizer, text: str) -> None:
    spans = tokenizer.offsets(text)
    assert spans.shape == (len(tokenizer.ids(text)), 2)
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert (np.diff(spans[:, 0]) >= 0).all()
    assert not len(spans) or spans.max() <= len(text)


def test_spans_are_characters_not_bytes(tokenizer: FastTokenizer) -> None:
    text = "é漢 cat"
    start, end = tokenizer.offsets(text)[-1]
    assert text[start:end] == "cat"


def test_saved_truncation_and_padding_are_ignored(tokenizer: FastTokenizer) -> None:
    assert len(tokenizer.ids("cat " * 500)) == 500
    assert len(tokenizer.offsets("cat")) == 1


def test_a_literal_special_token_is_plain_text(tokenizer: FastTokenizer) -> None:
    separator = tokenizer.token_id("[SEP]")
    assert separator is not None
    assert separator in tokenizer.suffix
    assert separator not in tokenizer.ids("cat [SEP] dog")
    assert [tuple(s) for s in tokenizer.offsets("[SEP]")] == [(0, 1), (1, 4), (4, 5)]


def test_a_pickled_copy_counts_the_same(tokenizer: FastTokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = "the cat [SEP] sat on [MASK]"
    np.testing.assert_array_equal(copy.ids(text), tokenizer.ids(text))
    np.testing.assert_array_equal(copy.prefix, tokenizer.prefix)
    np.testing.assert_array_equal(copy.suffix, tokenizer.suffix)


def test_a_folder_without_a_fast_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        FastTokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a readable tokenizer"):
        FastTokenizer.from_folder(tmp_path)
