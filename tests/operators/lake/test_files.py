"""Files of a lake are found and deleted by their exact names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from operators.lake import files
from operators.lake.files import delete, find
from operators.storage import Storage, join

ODD = ["plain", "a*", "a[1]", "ab", "a1", "it's & <x>", "é ü", "per%20cent", "plus+"]


def test_only_the_named_files_go_whatever_their_names_look_like(place: str) -> None:
    storage, folder = Storage(), join(place, "la ke*", "runs")
    for name in ODD:
        storage.put(join(folder, name), name.encode())
    found = find(storage, folder)
    assert sorted(f.uri for f in found) == sorted(join(folder, name) for name in ODD)
    assert {f.size for f in found} == {len(name.encode()) for name in ODD}
    assert all(abs(f.modified - datetime.now(UTC)) < timedelta(hours=1) for f in found)
    delete(storage, [join(folder, "a*"), join(folder, "a[1]"), join(folder, "never there")])
    assert sorted(storage.names(folder)) == sorted(set(ODD) - {"a*", "a[1]"})
    delete(storage, (f.uri for f in found))
    assert find(storage, folder) == []


def test_more_files_than_one_request_takes(bucket: str, s3_environment: object) -> None:
    storage, folder = Storage(), f"s3://{bucket}/many"
    for n in range(7):
        storage.put(join(folder, str(n)), b"x")
    batch, files._BATCH = files._BATCH, 3
    try:
        delete(storage, [join(folder, str(n)) for n in range(7)])
    finally:
        files._BATCH = batch
    assert storage.names(folder) == []


def test_a_folder_that_is_not_there_holds_nothing(place: str) -> None:
    assert find(Storage(), join(place, "nowhere")) == []
