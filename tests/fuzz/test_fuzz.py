"""Two thousand broken files through the reader: it ends, every one is accounted for, and the memory stays bounded."""

from __future__ import annotations

import os
import re
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest

from operators.isolation import decoders as module
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.storage import Storage
from schemas.config import DecodeConfig
from schemas.errors import ErrorCode
from schemas.recipe import Recipe
from schemas.tables import ASSET_KIND, EMBEDDED, EXPANDED, QUARANTINED, SEGMENT_KIND
from tests.fuzz.killers import ENTRY, KillerSpec, alive
from tests.fuzz.mutations import CRAFTED, mutants
from tests.fuzz.seeds import SEEDS, seed

COUNT = int(os.environ.get("EMBEDLAKE_FUZZ_COUNT", "2000"))
SEED = int(os.environ.get("EMBEDLAKE_FUZZ_SEED", "1"))
GROWTH_BYTES = 256 << 20
LIMITS = DecodeConfig(timeout_seconds=30, cpu_seconds=10, memory_bytes=1 << 30)
_ARCHIVE = re.compile(r"\.(zip|tar|tar\.gz)$")
_OUTSIDE = pc.field("container").is_null()
SURPRISES = {ErrorCode.INTERNAL, ErrorCode.STORAGE, ErrorCode.NOT_FOUND, ErrorCode.EMBED_FAILED}


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No child of one test is another's."""
    yield
    module.decoders(LIMITS).close()
    module._decoders.cache_clear()


def read(folder: Path, limits: DecodeConfig = LIMITS) -> tuple[dict[str, dict[str, object]], Counter[str]]:
    """Each file's outcome by name, and its segments; of an archive what lies in it."""
    source = str(folder)
    fetcher = Fetcher(storage=Storage(), grants={source: (source,)}, max_bytes=1 << 30)
    reader = ReadAssets(
        fetcher=fetcher, spec=KillerSpec(), recipe=Recipe(), block_bytes=1 << 20, limits=limits
    )
    outcomes: dict[str, dict[str, object]] = {}
    segments: Counter[str] = Counter()
    for found in reader(list_source(source, Storage()).table):
        table, inside = (found.filter(which) for which in (_OUTSIDE, ~_OUTSIDE))
        for row in table.filter(pc.field("kind") == ASSET_KIND).drop_columns(["parts"]).to_pylist():
            name = Path(str(row["uri"])).name
            assert name not in outcomes, "one outcome for each"
            outcomes[name] = row
        for uri in table.filter(pc.field("kind") == SEGMENT_KIND)["uri"].to_pylist():
            segments[Path(uri).name] += 1
        for uri in inside.filter(pc.field("kind") == ASSET_KIND)["container"].to_pylist():
            segments[Path(uri).name] += 1
    return outcomes, segments


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def check(files: dict[str, bytes], outcomes: dict[str, dict[str, object]], segments: Counter[str]) -> None:
    """Every file is accounted for once, with a reason that a person can act on."""
    assert outcomes.keys() == files.keys()
    for name, row in outcomes.items():
        if row["status"] in (EMBEDDED, EXPANDED):
            assert segments[name] == row["segments"] >= (row["status"] == EMBEDDED), name
            continue
        assert row["status"] == QUARANTINED
        assert ErrorCode(str(row["error_code"])) not in SURPRISES, (name, row["error_detail"])
        assert row["error_detail"], name
        assert row["error_stage"] == "decode", name
        assert row["segments"] == (segments[name] if _ARCHIVE.search(name) else 0), name


def test_every_seed_is_sound(tmp_path: Path) -> None:
    files = {name: seed(name) for name in SEEDS}
    outcomes, segments = read(write(tmp_path / "in", files))
    check(files, outcomes, segments)
    lost = {name: row["error_code"] for name, row in outcomes.items() if row["error_code"]}
    assert lost == {"encrypted.pdf": "encrypted"}


def test_thousands_of_broken_files_are_each_accounted_for_in_bounded_memory(tmp_path: Path) -> None:
    files = mutants({name: seed(name) for name in SEEDS}, COUNT, SEED)
    folder = write(tmp_path / "in", files)
    before = psutil.Process().memory_info().rss
    outcomes, segments = read(folder)
    codes = Counter(row["error_code"] for row in outcomes.values())
    print(f"seed {SEED}: {len(outcomes)} inputs, {dict(codes.most_common())}")
    check(files, outcomes, segments)
    assert len(codes) > 4, "mutations that all end alike test nothing"
    assert psutil.Process().memory_info().rss - before < GROWTH_BYTES


def test_bombs_loops_absurd_sizes_and_deep_nestings_cost_one_row_each(tmp_path: Path) -> None:
    # Of all children that this process has had: an earlier test's may have been larger.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    outcomes, segments = read(write(tmp_path / "in", CRAFTED))
    check(CRAFTED, outcomes, segments)
    codes = {name: row["error_code"] for name, row in outcomes.items()}
    print(codes)
    for name in ("huge.png", "wide.png", "bomb16.png", "huge.gif", "huge.bmp"):
        assert codes[name] in ("over_limit", "corrupt"), name
    assert codes["deep.json"] == "invalid_document"
    assert (codes["empty.txt"], codes["spaces.txt"], codes["zeros.bin"]) == (
        "empty",
        "empty",
        "unsupported_format",
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak == before or peak < 3 * LIMITS.memory_bytes


def test_killers_among_sound_files_cost_one_row_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRY", ENTRY)
    planted = {
        "segfault": "decoder_crashed",
        "abort": "decoder_crashed",
        "leave": "decoder_crashed",
        "lie": "decoder_crashed",
        "lock": "decoder_timeout",
        "spin": "decoder_timeout",
        "endless": "decoder_timeout",
        "allocate": "out_of_memory",
        "leak": "out_of_memory",
        "breed": "decoder_crashed",
    }
    files = {f"{n:02d}-{what}.txt": f"PLANTED {what} 5".encode() for n, what in enumerate(planted)}
    files |= {f"{n:02d}-sound.txt": b"the cat sat on the mat" for n in range(len(planted) + 1)}
    limits = LIMITS.model_copy(update={"timeout_seconds": 3, "cpu_seconds": 1, "memory_bytes": 256 << 20})
    before = psutil.Process().memory_info().rss
    outcomes, _ = read(write(tmp_path / "in", files), limits)
    module.decoders(limits).close()
    assert {name: row["error_code"] for name, row in outcomes.items()} == {
        name: planted.get(name[3:-4]) for name in files
    }
    unknown = [name for name, row in outcomes.items() if row["media_type"] != "text/plain"]
    assert set(unknown) <= {"03-lie.txt"}, "it writes over what is known of it"
    assert psutil.Process().memory_info().rss - before < GROWTH_BYTES
    assert alive(limits) == []
