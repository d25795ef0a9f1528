"""What a decoder does to its process costs its asset, and the next asset gets another process."""

from __future__ import annotations

import gc
import gzip
import io
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from operators.decode import registry
from operators.isolation.decoders import Decoders, decoders
from operators.isolation.process import ChildProcess
from operators.isolation.sandbox import landlock
from operators.parts import Segment
from schemas.card import ImageInput, Modality
from schemas.config import DecodeConfig
from schemas.errors import AssetError, EmbedlakeError, ErrorCode, Stage
from schemas.recipe import Recipe
from tests.fuzz.killers import ENTRY, alive
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.test_registry import ASSETS, no_reference, picture

LIMITS = DecodeConfig(timeout_seconds=10, cpu_seconds=5, memory_bytes=512 << 20, scratch_bytes=64 << 20)
WORDS = Words()


@pytest.fixture(scope="module")
def isolated() -> Iterator[Decoders]:
    made = Decoders(LIMITS, ENTRY)
    yield made
    made.close()


def run(isolated: Decoders, data: bytes | BinaryIO, name: str = "x") -> list[Segment]:
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    return list(isolated.decode(file, name, Recipe(), make_card(), WORDS, no_reference)[1])


def failure(isolated: Decoders, data: bytes) -> AssetError:
    with pytest.raises(AssetError) as caught:
        run(isolated, data)
    return caught.value


def pid(isolated: Decoders) -> int:
    return isolated._idle[0].process.pid


@pytest.mark.parametrize("modality", Modality)
def test_a_child_decodes_exactly_what_this_process_would(isolated: Decoders, modality: Modality) -> None:
    data = ASSETS[modality]
    media, segments = isolated.decode(io.BytesIO(data), "x", Recipe(), make_card(), WORDS, no_reference)
    here, expected = registry.decode(io.BytesIO(data), "x", Recipe(), make_card(), WORDS, no_reference)
    assert media == here
    for one, other in zip(segments, expected, strict=True):
        assert (one.modality, one.locator, one.text) == (other.modality, other.locator, other.text)
        for got, wanted in zip(one.parts, other.parts, strict=True):
            assert (got.kind, got.text, got.at_ms) == (wanted.kind, wanted.text, wanted.at_ms)
            assert (got.data is None) == (wanted.data is None)
            if wanted.data is not None:
                assert (got.array.dtype, got.array.shape) == (wanted.array.dtype, wanted.array.shape)
                assert np.array_equal(got.array, wanted.array)


def test_text_of_any_characters_survives_the_crossing(isolated: Decoders) -> None:
    text = "caf\u00e9 \U0001f600 \u2028 \u202e mirrored " * 40
    expected = registry.decode(io.BytesIO(text.encode()), "x", Recipe(), make_card(), WORDS, no_reference)[1]
    assert [s.text for s in run(isolated, text.encode())] == [s.text for s in expected]


@pytest.mark.parametrize(
    ("what", "code", "word"),
    [
        ("segfault", ErrorCode.DECODER_CRASHED, "SIGSEGV"),
        ("abort", ErrorCode.DECODER_CRASHED, "SIGABRT"),
        ("bus", ErrorCode.DECODER_CRASHED, "SIGBUS"),
        ("leave", ErrorCode.DECODER_CRASHED, "status 7"),
        ("malloc", ErrorCode.DECODER_CRASHED, "SIGSEGV"),
        ("lie", ErrorCode.DECODER_CRASHED, "sent"),
        ("misplace", ErrorCode.DECODER_CRASHED, "on no shelf"),
        ("killed", ErrorCode.OUT_OF_MEMORY, "SIGKILL"),
        ("allocate", ErrorCode.OUT_OF_MEMORY, "out of memory"),
        ("leak", ErrorCode.OUT_OF_MEMORY, "out of memory"),
    ],
)
def test_a_killer_costs_its_asset_and_its_process(
    isolated: Decoders, what: str, code: ErrorCode, word: str
) -> None:
    isolated.close()
    error = failure(isolated, f"PLANTED {what} 3".encode())
    assert (error.code, error.stage) == (code, Stage.DECODE)
    assert word in error.detail
    assert isolated._idle == []


@pytest.mark.parametrize("what", ["sleep", "lock"])
def test_a_hang_is_ended_by_the_wall_clock(what: str) -> None:
    isolated = Decoders(LIMITS.model_copy(update={"timeout_seconds": 2}), ENTRY)
    error = failure(isolated, f"PLANTED {what} 3".encode())
    assert (error.code, error.detail) == (ErrorCode.DECODER_TIMEOUT, "no progress for 2 s")


def test_a_decoder_cannot_fill_the_disk(isolated: Decoders) -> None:
    error = failure(isolated, b"PLANTED write")
    assert (error.code, "File too large" in error.detail) == (ErrorCode.INTERNAL, True)


def test_the_asset_after_a_killer_is_decoded(isolated: Decoders) -> None:
    for what in ("segfault", "allocate"):
        failure(isolated, f"PLANTED {what}".encode())
        assert run(isolated, b"some words")[0].text == "some words"


@pytest.mark.parametrize("what", ["spin", "backtrack"])
def test_a_decoder_that_only_burns_cpu_is_ended_by_its_cpu_seconds(what: str) -> None:
    isolated = Decoders(LIMITS.model_copy(update={"timeout_seconds": 60, "cpu_seconds": 1}), ENTRY)
    error = failure(isolated, f"PLANTED {what}".encode())
    assert (error.code, error.detail) == (ErrorCode.DECODER_TIMEOUT, "more than 1 CPU seconds")
    isolated.close()


def test_an_endless_stream_of_segments_ends_at_its_cpu_seconds() -> None:
    isolated = Decoders(LIMITS.model_copy(update={"timeout_seconds": 60, "cpu_seconds": 1}), ENTRY)
    count, code = 0, None
    try:
        for _ in isolated.decode(
            io.BytesIO(b"PLANTED endless"), "x", Recipe(), make_card(), WORDS, no_reference
        )[1]:
            count += 1
    except AssetError as error:
        code = error.code
    assert code is ErrorCode.DECODER_TIMEOUT
    assert count > 1000
    isolated.close()


def test_cpu_seconds_are_each_assets_own() -> None:
    isolated = Decoders(LIMITS.model_copy(update={"cpu_seconds": 1}), ENTRY)
    run(isolated, b"some words")
    before = psutil.Process(pid(isolated)).cpu_times()
    rounds = 0
    while (used := psutil.Process(pid(isolated)).cpu_times()).user + used.system - before.user < 2.5:
        run(isolated, ("some words " * 20_000).encode())
        rounds += 1
    assert rounds > 1
    isolated.close()


def test_garbage_on_the_standard_streams_is_not_heard(
    isolated: Decoders, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(run(isolated, b"PLANTED chatter 2")) == 3
    assert tuple(capfd.readouterr()) == ("", "")


def test_waiting_for_the_one_who_reads_is_not_a_hang() -> None:
    patient = Decoders(LIMITS.model_copy(update={"timeout_seconds": 3}), ENTRY)
    segments = patient.decode(
        io.BytesIO(b"PLANTED chatter 9000"), "x", Recipe(), make_card(), WORDS, no_reference
    )[1]
    next(segments)
    time.sleep(4)
    assert sum(1 for _ in segments) == 9000
    patient.close()


def test_a_crash_in_a_used_child_is_confirmed_in_a_fresh_one(isolated: Decoders, tmp_path: Path) -> None:
    once = f"PLANTED once 5000 {tmp_path / 'once'}".encode()
    run(isolated, b"some words")
    used = pid(isolated)
    texts = [segment.text for segment in run(isolated, once)]
    assert texts == [*(f"segment {n}" for n in range(5000)), "segment -1"], (
        "none is lost and none comes twice"
    )
    assert pid(isolated) != used
    (tmp_path / "once").unlink()
    isolated.close()
    assert failure(isolated, once).code is ErrorCode.DECODER_CRASHED, "a fresh child's crash counts at once"


def test_a_fresh_child_that_others_killed_is_tried_once_more(isolated: Decoders, tmp_path: Path) -> None:
    isolated.close()
    found = run(isolated, f"PLANTED once 2 {tmp_path / 'mark'} killed".encode())
    assert len(found) == 3


def test_a_child_that_was_killed_while_idle_costs_nothing(isolated: Decoders) -> None:
    run(isolated, b"some words")
    psutil.Process(pid(isolated)).kill()
    assert run(isolated, b"some words")[0].text == "some words"


def test_no_process_is_left_of_what_a_decoder_started() -> None:
    limits = LIMITS.model_copy(update={"timeout_seconds": 120})
    brief, started = Decoders(limits, ENTRY), time.monotonic()
    error = failure(brief, b"PLANTED breed")
    # What it has started holds its end of the socket: nobody waits for that to be silent for so long.
    assert time.monotonic() - started < 60
    assert (error.code, error.stage) == (ErrorCode.DECODER_CRASHED, Stage.DECODE)
    assert "SIGABRT" in error.detail
    assert brief._idle == []
    run(brief, b"some words")
    assert alive(limits) == [pid(brief)]
    brief.close()


def test_one_child_serves_asset_after_asset_and_failures_do_not_end_it(isolated: Decoders) -> None:
    run(isolated, b"some words")
    first = pid(isolated)
    assert failure(isolated, b"").code is ErrorCode.EMPTY
    assert failure(isolated, picture()[:30]).code is ErrorCode.CORRUPT
    run(isolated, b"some words")
    assert pid(isolated) == first


def test_an_asset_that_is_given_up_frees_its_child(isolated: Decoders) -> None:
    run(isolated, b"some words")
    first = pid(isolated)
    stream = isolated.decode(
        io.BytesIO(b"PLANTED chatter 100000"), "x", Recipe(), make_card(), WORDS, no_reference
    )[1]
    next(stream)
    cast(Any, stream).close()
    assert pid(isolated) == first
    assert run(isolated, b"some words")[0].text == "some words"


def test_two_assets_at_once_have_a_child_each(isolated: Decoders) -> None:
    one = isolated.decode(
        io.BytesIO(b"PLANTED chatter 2000"), "x", Recipe(), make_card(), WORDS, no_reference
    )[1]
    next(one)
    assert run(isolated, b"some words")[0].text == "some words"
    assert sum(1 for _ in one) == 2000
    assert len(isolated._idle) == 1


@pytest.mark.parametrize("side", [64, 1024, 2048])
def test_pictures_of_any_size_cross_whether_they_fit_the_shelf_or_not(isolated: Decoders, side: int) -> None:
    out = io.BytesIO()
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(out, "PNG", compress_level=0)
    card = make_card(image=ImageInput(side=side))
    for _ in range(2):
        _, segments = isolated.decode(out, "x", Recipe(), card, WORDS, no_reference)
        ((part,),) = (segment.parts for segment in segments)
        assert np.array_equal(part.array, noise)
        part.array[0] = 0


def test_files_in_memory_on_disk_and_in_a_spool_are_read_alike(isolated: Decoders, tmp_path: Path) -> None:
    data = ("a line of words\n" * 30_000).encode()
    expected = [s.text for s in run(isolated, data)]
    (tmp_path / "x.txt").write_bytes(data)
    with (tmp_path / "x.txt").open("rb") as file:
        assert [s.text for s in run(isolated, cast(BinaryIO, file))] == expected
    for most in (1 << 30, 1):
        with tempfile.SpooledTemporaryFile(max_size=most) as spool:
            spool.write(data)
            assert [s.text for s in run(isolated, cast(BinaryIO, spool))] == expected


def test_references_are_opened_here_and_refusals_arrive_there(isolated: Decoders) -> None:
    opened = []

    def open_ref(reference: str) -> BinaryIO:
        opened.append(reference)
        if reference != "a.png":
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, f"{reference} is not allowed", Stage.FETCH)
        return io.BytesIO(picture())

    def decode(body: bytes) -> list[Segment]:
        return list(isolated.decode(io.BytesIO(body), "x", Recipe(), make_card(), WORDS, open_ref)[1])

    (segment,) = decode(b'{"parts": ["see", {"type": "image", "uri": "a.png"}]}')
    assert [part.kind for part in segment.parts] == ["text", "image"]
    with pytest.raises(AssetError, match=r"part 1 \(image /etc/passwd\)") as caught:
        decode(b'{"parts": [{"type": "image", "uri": "/etc/passwd"}]}')
    assert (caught.value.code, caught.value.stage) == (ErrorCode.SOURCE_NOT_ALLOWED, Stage.FETCH)
    assert opened == ["a.png", "/etc/passwd"]


def test_a_persons_error_while_a_reference_is_opened_ends_the_run_and_not_the_asset(
    isolated: Decoders,
) -> None:
    def open_ref(reference: str) -> BinaryIO:
        raise EmbedlakeError("the credentials have expired")

    body = io.BytesIO(b'{"parts": [{"type": "image", "uri": "a.png"}]}')
    with pytest.raises(EmbedlakeError, match="expired"):
        list(isolated.decode(body, "x", Recipe(), make_card(), WORDS, open_ref)[1])
    assert run(isolated, b"some words")[0].text == "some words"


class AtHome(Words):
    """A counter that cannot travel, as one that needs torch."""

    def __init__(self) -> None:
        self.asked = 0

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("stays here")

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        self.asked += 1
        return super().offsets(text)


def test_a_counter_that_cannot_travel_is_asked_here(isolated: Decoders) -> None:
    counter = AtHome()
    data = ("one two three. " * 2000).encode()
    segments = list(isolated.decode(io.BytesIO(data), "x", Recipe(), make_card(), counter, no_reference)[1])
    assert [s.text for s in segments] == [s.text for s in run(isolated, data)]
    assert counter.asked > len(segments) > 10


def test_the_child_has_no_secret_no_open_file_and_no_heavy_library(
    isolated: Decoders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        run(isolated, b"some words")
        child = psutil.Process(pid(isolated))
        assert {"AWS_SECRET_ACCESS_KEY", "USER"}.isdisjoint(child.environ())
        assert child.environ()["HOME"] == "/nonexistent"
        assert [f.path for f in child.open_files() if not f.path.startswith("/proc/")] == []
    mapped = {Path(m.path).name for m in child.memory_maps()}
    assert any(name.startswith("libc.so") for name in mapped)
    assert [name for name in mapped if name.startswith(("libtorch", "_raylet", "lance"))] == []
    assert child.cwd() == "/"
    status = Path(f"/proc/{child.pid}/limits").read_text()
    assert "Max core file size        0 " in status
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "1000"


@pytest.mark.skipif(landlock() < 4, reason="this kernel's Landlock knows no network")
def test_a_decoder_that_was_taken_over_reaches_no_home_no_parent_and_no_network(
    isolated: Decoders, tmp_path: Path
) -> None:
    home = Path(f"/var/tmp/embedlake-test-{os.getpid()}")
    home.write_text("secret")
    (tmp_path / "scratch").write_text("its own")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        places = [
            home,
            f"/proc/{os.getpid()}/environ",
            f"/proc/{os.getpid()}/maps",
            port,
            tmp_path / "scratch",
        ]
        try:
            found = run(isolated, " ".join(["PLANTED spy", *map(str, places)]).encode())
        finally:
            home.unlink()
    assert found[0].text == f"segment {tmp_path / 'scratch'}"


def test_a_compressed_file_of_more_than_a_spool_is_decoded_and_one_over_the_limit_says_so() -> None:
    data = gzip.compress(b"some words and more\n" * (70 << 20 >> 4), 1)
    for limits, code in ((DecodeConfig(), None), (LIMITS, ErrorCode.LIMIT)):
        made = Decoders(limits)
        try:
            if code is None:
                assert next(
                    made.decode(io.BytesIO(data), "x.gz", Recipe(), make_card(), Words(), no_reference)[1]
                )
            else:
                with pytest.raises(AssetError, match="scratch_bytes") as caught:
                    made.decode(io.BytesIO(data), "x.gz", Recipe(), make_card(), Words(), no_reference)
                assert caught.value.code is code
        finally:
            made.close()


def test_a_child_ends_with_its_parent_even_while_a_decoder_holds_the_interpreter(tmp_path: Path) -> None:
    read, write = os.pipe()
    parent = os.posix_spawn(
        os.sys.executable,
        [
            os.sys.executable,
            "-c",
            f"import io, sys, threading, time; sys.path.insert(0, {os.getcwd()!r})\n"
            "from tests.operators.isolation.test_decoders import *\n"
            "made = Decoders(DecodeConfig(), ENTRY)\n"
            "run(made, b'some words'); child = pid(made)\n"
            "threading.Thread(target=run, args=(made, b'PLANTED lock'), daemon=True).start()\n"
            f"time.sleep(1); open('{tmp_path}/pid', 'w').write(str(child)); time.sleep(600)\n",
        ],
        os.environ,
    )
    os.close(read)
    os.close(write)
    mark = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = psutil.Process(int(mark.read_text()))
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_decoders_that_are_dropped_leave_no_process() -> None:
    made = Decoders(LIMITS, ENTRY)
    run(made, b"some words")
    child = psutil.Process(pid(made))
    del made
    gc.collect()
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_a_child_that_cannot_start_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmbedlakeError, match=r"does not start .*No module named 'nowhere'.*isolated: false"):
        ChildProcess(LIMITS, "nowhere:decode")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(EmbedlakeError, match="does not start"):
        ChildProcess(LIMITS, ENTRY)


def test_the_memory_of_the_parent_does_not_grow_with_what_its_children_die_of(isolated: Decoders) -> None:
    failure(isolated, b"PLANTED abort")
    gc.collect()
    before, open_files = psutil.Process().memory_info().rss, psutil.Process().num_fds()
    for _ in range(2):
        failure(isolated, b"PLANTED abort")
    gc.collect()
    assert psutil.Process().num_fds() == open_files
    assert psutil.Process().memory_info().rss - before < 16 << 20


def test_a_thread_has_one_set_of_decoders_for_its_limits_and_no_other_thread_has_it() -> None:
    mine = decoders(LIMITS)
    assert mine is decoders(LIMITS.model_copy())
    assert mine is not decoders(DecodeConfig())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(decoders, LIMITS).result() is not mine
