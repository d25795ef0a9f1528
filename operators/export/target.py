"""A folder that holds an export: its manifests, one for each export that ended, and the files that the newest names.

```
<target>/part-00000001-0000.parquet     or modality=<value>/part-...: the rows
<target>/_metadata                      the footers of these files, for readers that want exactly one export
<target>/_embedlake/export-0000000N.json   the manifest; the highest number is what the target holds
<target>/_embedlake/part-00000001-0000.ids the row ids of a file's rows
```
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from operators.export.parquet import Written
from operators.export.row_ids import Ids, unpacked
from operators.faults import Read, StorageFault
from operators.lake.files import delete, find
from operators.storage import Storage, join
from schemas.errors import ConflictError, LakeError, UsageError
from schemas.export import ExportedFile, ExportManifest

_OWN = "_embedlake"
_METADATA = "_metadata"
_MANIFEST = re.compile(r"export-(\d{8})\.json")
_PART = re.compile(r"(modality=[^/]+/)?(part-\d{8}-.+\.parquet|\.tmp-[0-9a-f]{32})")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Target:
    """One target, by its normal URI."""

    uri: str
    storage: Storage

    def manifest(self) -> ExportManifest | None:
        """What the target holds, None when nothing was ever exported to it.

        Raises:
            UsageError: it holds other files, and is no export.
            LakeError: its manifest is of another version.
        """
        numbers = self._manifests()
        if not numbers:
            if others := [name for name in self.storage.names(self.uri) if name != _OWN]:
                raise UsageError(
                    f"{self.uri} is not empty and holds no export ('{others[0]}'): name another target"
                )
            return None
        uri = self._manifest_uri(numbers[-1])
        try:
            return ExportManifest.model_validate_json(self.storage.read(uri))
        except ValidationError as error:
            raise LakeError(
                f"{uri} was not written by this version of embedlake: name another target"
            ) from error

    def record(self, manifest: ExportManifest) -> None:
        """Make a manifest the newest one: from now on the target holds its files.

        Raises:
            ConflictError: another export of that number ended first.
        """
        body = manifest.model_dump_json().encode()
        if not self.storage.put_if_absent(self._manifest_uri(manifest.number), body):
            raise self._overtaken()

    def strays(self, manifest: ExportManifest) -> list[str]:
        """Files of exports that are not the manifest's: an export died, or is about to end."""
        known = {file.path for file in manifest.files}
        known |= {self._ids_path(path) for path in known}
        found = [file.uri[len(self.uri) + 1 :] for file in find(self.storage, self.uri)]
        return [path for path in found if self._is_own(path) and path not in known]

    def cut_short(self, manifest: ExportManifest) -> bool:
        """Whether the export of this manifest died after it was recorded: the one before is still there."""
        return len(self._manifests()) > 1 and manifest.number > 0

    def clean(self, manifest: ExportManifest, paths: Iterable[str]) -> None:
        """Delete files by their path below the target, and then the manifests before this one."""
        self.remove(paths)
        old = [self._manifest_uri(number) for number in self._manifests() if number < manifest.number]
        delete(self.storage, old)

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files by their path below the target."""
        delete(self.storage, (join(self.uri, path) for path in paths))

    def with_ids(self, files: Iterable[ExportedFile]) -> list[str]:
        """The paths of these files and of their row ids."""
        return [path for file in files for path in (file.path, self._ids_path(file.path))]

    def commit(self, written: Sequence[Written]) -> None:
        """Make files visible, their ids first.

        Raises:
            ConflictError: another export ended first and has taken them for leftovers.
        """
        for one in written:
            self.storage.put(join(self.uri, self._ids_path(one.file.path)), one.ids)
        for one in written:
            try:
                one.staged.commit()
            except FileNotFoundError as error:
                raise self._overtaken() from error

    def ids(self, files: Sequence[ExportedFile]) -> Iterator[tuple[ExportedFile, Ids]]:
        """Each file with the row ids of its rows, in their order.

        Raises:
            StorageFault: one cannot be read.
        """
        for start in range(0, len(files), _READERS):
            some = files[start : start + _READERS]
            reads = [Read(join(self.uri, self._ids_path(file.path))) for file in some]
            for file, body in zip(some, self.storage.read_many(reads), strict=True):
                yield file, _ids(body)

    @contextmanager
    def reader(self, file: ExportedFile) -> Iterator[pq.ParquetFile]:
        """A file, to be read row group by row group, in this thread."""
        fs, path = self.storage.filesystem(join(self.uri, file.path))
        # Arrow would read ahead in a thread that may let go of Python's bytes while the process ends, and abort it.
        with fs.open(path, "rb") as source, pq.ParquetFile(source, pre_buffer=False) as opened:
            yield opened

    def put_metadata(
        self, schema: pa.Schema, kept: Sequence[ExportedFile], written: Sequence[Written], number: int
    ) -> None:
        """Write `_metadata`: the footers of exactly these files, which are those of export `number`.

        Raises:
            ConflictError: another export has ended since.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            footers = list(pool.map(self._footer, kept))
        out = io.BytesIO()
        pq.write_metadata(schema, out, metadata_collector=[*footers, *(one.footer for one in written)])
        if self._manifests()[-1] != number:
            raise self._overtaken()
        self.storage.put(join(self.uri, _METADATA), out.getvalue())

    def _footer(self, file: ExportedFile) -> pq.FileMetaData:
        with self.reader(file) as opened:
            footer = opened.metadata
        footer.set_file_path(file.path)
        return footer

    def _overtaken(self) -> ConflictError:
        return ConflictError(f"another export to {self.uri} ended first; run it again")

    def _manifests(self) -> list[int]:
        names = self.storage.names(join(self.uri, _OWN))
        return sorted(int(found[1]) for name in names if (found := _MANIFEST.fullmatch(name)))

    def _manifest_uri(self, number: int) -> str:
        return join(self.uri, _OWN, f"export-{number:08d}.json")

    def _ids_path(self, path: str) -> str:
        return f"{_OWN}/{posixpath.splitext(path)[0]}.ids"

    def _is_own(self, path: str) -> bool:
        return bool(_PART.fullmatch(path)) or (path.startswith(f"{_OWN}/") and path.endswith(".ids"))


def _ids(body: bytes | StorageFault) -> Ids:
    if isinstance(body, StorageFault):
        raise body
    return unpacked(body)
