"""JSON with escapes of half a character: what other programs write, and no encoding has."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from operators.decode.lenient import parsed
from operators.decode.registry import decode
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.test_registry import no_reference

_TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]))


class Named(BaseModel):
    names: list[str]
    others: dict[str, str]


def segments(name: str, value: Any) -> list[Segment]:
    data = json.dumps(value).encode()
    return list(decode(io.BytesIO(data), name, Recipe(), make_card(), Words(), no_reference)[1])


@given(st.lists(_TEXTS), st.dictionaries(_TEXTS, _TEXTS))
def test_every_string_of_json_becomes_one_that_utf8_has(names: list[str], others: dict[str, str]) -> None:
    found = parsed(Named, json.dumps({"names": names, "others": others}))
    found.model_dump_json().encode()
    whole = [name.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for name in names]
    assert found.names == whole


def test_half_a_pair_in_a_notebook_costs_one_character() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# A \ud800 title\n", "and \U0001f600"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "said \udc00"}]},
    ]
    (segment,) = segments("x.ipynb", {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
    assert segment.text is not None
    assert all(part in segment.text for part in ("A \ufffd title", "and \U0001f600", "said \ufffd"))


def test_half_a_pair_in_a_document_costs_one_character() -> None:
    (segment,) = segments(
        "x.json", {"title": "a \udc00", "parts": ["b \ud800", {"type": "text", "text": "c"}]}
    )
    assert [part.text for part in segment.parts] == ["a \ufffd", "b \ufffd", "c"]


@pytest.mark.parametrize(
    "body", [b'{"parts": ["\\ud800"', b'{"parts": ["\\ud8"]}', b'{"parts": ["\xff \\ud800"]}', b"[" * 100_000]
)
def test_what_is_no_json_is_refused_as_before(body: bytes) -> None:
    with pytest.raises(ValidationError, match="Invalid JSON"):
        parsed(Named, body)


def test_a_document_of_half_a_pair_and_a_wrong_part_says_what_is_wrong_with_the_part() -> None:
    with pytest.raises(AssetError) as caught:
        segments("x.json", {"parts": ["\ud800", {"type": "scent"}]})
    assert caught.value.code is ErrorCode.INVALID_DOCUMENT
    assert "scent" in caught.value.detail
    caught.value.detail.encode()
