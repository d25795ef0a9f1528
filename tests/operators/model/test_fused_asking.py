"""A query's question is said throughout the long text beside it, within one pass; other inputs stay as they were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from operators.model.fused.asking import LONG, SHARE, TextRole, as_role, times, told_apart, woven
from operators.model.fused.config import FusedConfig
from operators.model.fused.engine import FusedEngine
from operators.model.fused.prepare import FusedPreparer
from operators.model.fused.spec import FusedSpec
from operators.parts import Part, PartKind
from schemas.card import Role
from tests.operators.model.shipped import with_ingredients

Ids = npt.NDArray[np.int32]
POSITIONS = FusedConfig().positions
PAGE = "the committee met again to discuss the annual budget of the harbour. " * 12
QUESTION = "where does it say harbour?"
ids = st.lists(st.integers(0, 30_521), min_size=1, max_size=300).map(lambda row: np.asarray(row, np.int32))


def apart(row: Ids) -> tuple[Ids, Ids]:
    """Places in the vocabulary, and roles."""
    places, roles = told_apart(torch.from_numpy(row.astype(np.int64)))
    return places.numpy().astype(np.int32), roles.numpy().astype(np.int32)


@given(ids, ids, st.integers(1, 12), st.booleans())
def test_a_woven_text_keeps_its_order_and_says_the_question_so_many_times(
    read: Ids, asked: Ids, count: int, first: bool
) -> None:
    places, roles = apart(woven(read, asked, count, first=first))
    np.testing.assert_array_equal(places[roles == TextRole.READ], read)
    np.testing.assert_array_equal(places[roles == TextRole.ASKED], np.tile(asked, count))
    assert roles[0 if first else -1] == TextRole.ASKED


@given(st.integers(1, 2_000), st.integers(1, 400), st.integers(0, 2_000))
def test_a_question_is_repeated_within_the_room_and_about_its_share(read: int, asked: int, room: int) -> None:
    count = times(read, asked, room)
    assert count >= 1
    if count > 1:
        assert read >= LONG
        assert read + count * asked <= room
        assert count * asked <= SHARE / (1 - SHARE) * read + asked / 2


def text(value: str) -> Part:
    return Part(PartKind.TEXT, value)


def picture(seed: int) -> Part:
    return Part(PartKind.IMAGE, data=np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8))


@pytest.fixture(scope="module")
def query(fused_spec: FusedSpec) -> FusedPreparer:
    return fused_spec.preparer(Role.QUERY)


@with_ingredients
def test_a_question_holds_a_share_of_the_page_and_stands_in_the_page_s_place(query: FusedPreparer) -> None:
    (found,), (tokens,) = query.prepare([(picture(0), text(PAGE), picture(1), text(QUESTION))])
    assert [part.kind for part in found] == [PartKind.IMAGE, PartKind.TOKENS, PartKind.IMAGE]
    places, roles = apart(found[1].array)
    assert 0.2 < (roles == TextRole.ASKED).mean() < 0.3
    np.testing.assert_array_equal(places[roles == TextRole.READ], query.counter.ids(PAGE))
    assert list(roles[[0, -1]]) == [TextRole.PLAIN] * 2
    assert tokens == len(places) + 2 * query.card.token_costs.image <= POSITIONS


@with_ingredients
def test_what_was_said_first_stays_first(query: FusedPreparer) -> None:
    (before,), _ = query.prepare([(text(QUESTION), text(PAGE))])
    (after,), _ = query.prepare([(text(PAGE), text(QUESTION))])
    assert apart(before[0].array)[1][1] == TextRole.ASKED
    assert apart(after[0].array)[1][1] == TextRole.READ


@with_ingredients
@pytest.mark.parametrize(
    "parts",
    [
        (text(QUESTION),),
        (text(PAGE * 3),),
        (picture(0), text(QUESTION)),
        (picture(0), text(PAGE)),
        (text("a red harbour at night"), text("boats")),
        (text(PAGE), text(PAGE)),
        (text(PAGE), text(" \n")),
    ],
    ids=["text", "long-text", "picture-words", "picture-page", "two-short", "two-long", "nothing-asked"],
)
def test_a_query_without_a_short_text_beside_a_long_one_is_read_as_a_document(
    fused_spec: FusedSpec, query: FusedPreparer, parts: tuple[Part, ...]
) -> None:
    asked, document = query.prepare([parts]), fused_spec.preparer(Role.DOCUMENT).prepare([parts])
    assert asked[1] == document[1]
    for one, other in zip(asked[0][0], document[0][0], strict=True):
        np.testing.assert_array_equal(one.array, other.array)


@with_ingredients
def test_a_document_with_a_caption_stays_as_it_is(fused_spec: FusedSpec, query: FusedPreparer) -> None:
    (found,), _ = fused_spec.preparer(Role.DOCUMENT).prepare([(text(PAGE), text(QUESTION))])
    assert len(found) == 2
    assert not any(apart(part.array)[1].any() for part in found)


@with_ingredients
@pytest.mark.parametrize("pictures", [0, 10, 25, 35])
def test_a_page_with_pictures_that_fits_one_pass_still_does_with_its_question(
    fused_spec: FusedSpec, query: FusedPreparer, pictures: int
) -> None:
    page = text(" ".join(["harbour"] * 240))
    parts = (*(picture(0) for _ in range(pictures)), page, text(QUESTION))
    (plain,), (asked,) = fused_spec.preparer(Role.DOCUMENT).prepare([parts])[1], query.prepare([parts])[1]
    assert plain <= asked <= POSITIONS


@with_ingredients
def test_every_pass_over_a_long_text_hears_the_question(query: FusedPreparer) -> None:
    (found,), _ = query.prepare([(text(PAGE * 6), text(QUESTION))])
    roles = np.concatenate([apart(part.array)[1] for part in found])
    assert len(roles) > 2 * POSITIONS
    for at in range(0, len(roles), POSITIONS):
        assert 0.15 < (roles[at : at + POSITIONS] == TextRole.ASKED).mean() < 0.35


@with_ingredients
def test_tokens_are_those_that_the_trunk_reads(query: FusedPreparer, fused_engine: FusedEngine) -> None:
    prepared, tokens = query.prepare([(picture(0), text(PAGE), text(QUESTION)), (text(PAGE),)])
    with torch.inference_mode():
        rows = fused_engine.network.rows(fused_engine._pieces(prepared))
    assert tokens == [len(row) for row in rows]


@with_ingredients
def test_a_role_changes_its_own_tokens_and_plain_ones_are_the_trunk_s_own(fused_engine: FusedEngine) -> None:
    network, plain = fused_engine.network, np.arange(1_000, 1_040, dtype=np.int32)
    words = network.trunk.embeddings.word_embeddings.weight[1_000:1_040]

    def read(row: Ids) -> torch.Tensor:
        with torch.inference_mode():
            return network.rows(fused_engine._pieces([(Part(PartKind.TOKENS, data=row),)]))[0]

    assert torch.equal(read(plain), words)
    for role in (TextRole.READ, TextRole.ASKED):
        added = read(as_role(plain, role)) - words
        torch.testing.assert_close(added, network.roles.weight[role].expand_as(added))
        assert added.any()


SUBJECTS: dict[str, Callable[[str], str]] = {
    "bread": lambda said: f"{said} The loaf is baked from rye and sour dough in a stone oven.",
    "chess": lambda said: f"{said} The game has bishops, knights, a king and a queen on its board.",
    "whales": lambda said: f"{said} The animals dive for squid and sing in the cold sea.",
    "violins": lambda said: f"{said} The instrument has four strings and a bow of horse hair.",
}
ANSWERS = {
    "where is the price?": "Nobody pays the full price, and on Fridays it is half.",
    "the law": "A law of last year forbids it on Sundays, and the judge may fine you.",
    "about children": "Small children like it most of all, and their parents wait outside.",
    "who mentions the war?": "During the war it was forgotten, and the soldiers had none.",
}


@with_ingredients
def test_a_page_and_a_question_find_the_passage_that_neither_finds_alone(
    query: FusedPreparer, fused_engine: FusedEngine
) -> None:
    def embed(rows: list[tuple[Part, ...]]) -> npt.NDArray[np.float32]:
        vectors = fused_engine.embed(query.prepare(rows)[0])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    pages = [" ".join(subject(said) for said in ANSWERS.values()) for subject in SUBJECTS.values()]
    passages = embed([(text(subject(said)),) for subject in SUBJECTS.values() for said in ANSWERS.values()])
    wanted = np.arange(len(passages))

    def found(rows: list[tuple[Part, ...]]) -> float:
        return float(((embed(rows) @ passages.T).argmax(1) == wanted).mean())

    asked = [(page, question) for page in pages for question in ANSWERS]
    both = found([(text(page), text(question)) for page, question in asked])
    page, question = found([(text(p),) for p, _ in asked]), found([(text(q),) for _, q in asked])
    assert both >= 0.75 > 0.5 > max(page, question), (both, page, question)
