"""Assets that a child has before they are asked for are decoded as if they came one by one, whatever lies between."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
import psutil
import pytest

from operators.decode import registry
from operators.isolation.decoders import Decoders
from operators.isolation.session import AHEAD, AHEAD_BYTES
from operators.model.contract import TextCounter
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode, Stage
from schemas.recipe import Recipe
from tests.fuzz.killers import ENTRY
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.test_registry import ASSETS, no_reference, picture
from tests.operators.isolation.test_decoders import AtHome

LIMITS = DecodeConfig(timeout_seconds=10, cpu_seconds=5, memory_bytes=512 << 20, scratch_bytes=64 << 20)
RECIPE, CARD, WORDS = Recipe(), make_card(), Words()


@pytest.fixture(scope="module")
def isolated() -> Iterator[Decoders]:
    made = Decoders(LIMITS, ENTRY)
    yield made
    made.close()


def expected(isolated: Decoders, bodies: Sequence[bytes], counter: TextCounter = WORDS) -> list[BinaryIO]:
    files = [cast(BinaryIO, io.BytesIO(body)) for body in bodies]
    for file in files:
        isolated.expect(file, "x", RECIPE, CARD, counter)
    return files


def told(isolated: Decoders, file: BinaryIO, counter: TextCounter = WORDS) -> list[Any] | ErrorCode:
    """Texts and arrays of an asset's segments, or why there are none."""
    try:
        segments = isolated.decode(file, "x", RECIPE, CARD, counter, no_reference)[1]
        return [(s.text, [p.array.tolist() for p in s.parts if p.data is not None]) for s in segments]
    except AssetError as error:
        return error.code
    finally:
        file.close()


def alone(body: bytes) -> list[Any] | ErrorCode:
    here = cast(Any, type("Here", (), {"decode": staticmethod(registry.decode)}))
    return told(here, cast(BinaryIO, io.BytesIO(body)))


def test_a_stream_of_every_kind_gives_what_each_gives_alone(isolated: Decoders) -> None:
    bodies = [*ASSETS.values(), b"", picture()[:30], *(f"some words {n}".encode() for n in range(40))] * 2
    files = expected(isolated, bodies)
    assert [told(isolated, file) for file in files] == [alone(body) for body in bodies]


def test_a_child_has_many_and_large_ones_only_while_they_are_few_bytes(isolated: Decoders) -> None:
    for size, count in ((10, AHEAD), (AHEAD_BYTES // 3, 3), (AHEAD_BYTES + 2, 0)):
        files = expected(isolated, [b"w " * (size // 2)] * (AHEAD + 3))
        told(isolated, files[0])
        assert len(isolated._idle[0].ahead) == count
        isolated.close()


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("segfault", ErrorCode.DECODER_CRASHED),
        ("leave", ErrorCode.DECODER_CRASHED),
        ("lie", ErrorCode.DECODER_CRASHED),
        ("killed", ErrorCode.OUT_OF_MEMORY),
        ("allocate", ErrorCode.OUT_OF_MEMORY),
        ("spin", ErrorCode.DECODER_TIMEOUT),
        ("sleep", ErrorCode.DECODER_TIMEOUT),
        ("scramble", ErrorCode.DECODER_TIMEOUT),
    ],
)
def test_a_killer_costs_none_of_those_before_and_after_it(what: str, code: ErrorCode) -> None:
    isolated = Decoders(LIMITS.model_copy(update={"timeout_seconds": 3, "cpu_seconds": 1}), ENTRY)
    sound = [f"some words {n}".encode() for n in range(20)]
    bodies = [*sound[:3], f"PLANTED {what} 3".encode(), *sound[3:]]
    files = expected(isolated, bodies)
    wanted = [code if b"PLANTED" in body else alone(body) for body in bodies]
    assert [told(isolated, file) for file in files] == wanted
    isolated.close()


def test_a_hang_is_waited_for_once(isolated: Decoders) -> None:
    made = Decoders(LIMITS.model_copy(update={"timeout_seconds": 4}), ENTRY)
    files = expected(made, [b"some words", b"more words", b"PLANTED sleep", b"the last words"])
    told(made, cast(BinaryIO, io.BytesIO(b"a first asset")))
    started = time.monotonic()
    assert [told(made, file) for file in files][2] is ErrorCode.DECODER_TIMEOUT
    assert 3.5 < time.monotonic() - started < 7.5
    made.close()


def test_cpu_seconds_are_each_assets_own_among_many() -> None:
    made = Decoders(LIMITS.model_copy(update={"cpu_seconds": 1}), ENTRY)
    files = expected(made, [("some words " * 20_000).encode()] * 100)
    assert len({str(told(made, file)) for file in files}) == 1
    session = made._idle[0]
    used = psutil.Process(session.process.pid).cpu_times()
    assert (session.served, used.user + used.system > 2) == (len(files), True), (
        "one child decoded all of them"
    )
    made.close()


def test_what_is_asked_for_in_another_order_or_never_is_no_matter(isolated: Decoders) -> None:
    files = expected(isolated, [f"some words {n}".encode() for n in range(12)])
    for number in (0, 3, 1, 2):
        assert told(isolated, files[number]) == alone(f"some words {number}".encode())
    foreign = cast(BinaryIO, io.BytesIO(b"from elsewhere"))
    assert told(isolated, foreign) == alone(b"from elsewhere")
    again = expected(isolated, [b"one", b"two"])
    assert [told(isolated, file) for file in again] == [alone(b"one"), alone(b"two")]


def test_one_that_is_closed_before_it_is_asked_for_is_left_out(isolated: Decoders) -> None:
    files = expected(isolated, [b"one", b"two", b"three"])
    files[1].close()
    assert [told(isolated, files[n]) for n in (0, 2)] == [alone(b"one"), alone(b"three")]


def test_the_next_one_follows_when_one_is_given_up(isolated: Decoders) -> None:
    bodies = [b"some words", b"PLANTED chatter 100000", b"more words"]
    files = expected(isolated, bodies)
    told(isolated, files[0])
    stream = isolated.decode(files[1], "x", RECIPE, CARD, WORDS, no_reference)[1]
    next(stream)
    cast(Any, stream).close()
    assert told(isolated, files[2]) == alone(bodies[2])


def test_each_of_them_opens_its_own_references_and_asks_its_own_counter(isolated: Decoders) -> None:
    body = b'{"parts": ["see", {"type": "image", "uri": "a.png"}]}'
    counter = AtHome()
    files = expected(isolated, [b"some words " * 500, body, body, b"more words"], counter)
    opened: list[int] = []

    def opener(number: int) -> Any:
        def open_ref(reference: str) -> BinaryIO:
            opened.append(number)
            if number == 1:
                raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, reference, Stage.FETCH)
            return io.BytesIO(picture())

        return open_ref

    found: list[Any] = []
    for number, file in enumerate(files):
        try:
            found.append(list(isolated.decode(file, "x", RECIPE, CARD, counter, opener(number))[1]))
        except AssetError as error:
            found.append(error.code)
    assert (opened, found[1]) == ([1, 2], ErrorCode.SOURCE_NOT_ALLOWED)
    assert [part.kind for part in found[2][0].parts] == ["text", "image"]
    assert found[3][0].text == "more words"
    assert counter.asked > 0


def test_two_streams_at_once_get_their_own(isolated: Decoders) -> None:
    one = [f"one {n}".encode() for n in range(9)]
    other = [f"other {n}".encode() for n in range(9)]
    files = [expected(isolated, bodies) for bodies in (one, other)]
    for pair in zip(*files, strict=True):
        streams = [isolated.decode(file, "x", RECIPE, CARD, WORDS, no_reference)[1] for file in pair]
        texts = [[s.text for s in stream] for stream in streams]
        assert texts == [[file.getvalue().decode()] for file in cast(Any, pair)]


def test_pictures_ahead_arrive_whole(isolated: Decoders) -> None:
    files = expected(isolated, [picture()] * 40)
    (first,) = {str(told(isolated, file)) for file in files}
    assert np.array_equal(first, str(alone(picture())))
