"""Export a space as Parquet files: the first time all of it, later only what has changed.

Rows are told apart by Lance's stable row ids, so neither compaction nor collected versions matter. A file that lost a
row is written again without it; new rows go to new files. Readers of `_metadata` see one export or the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

import lance
import pyarrow as pa
import pyarrow.compute as pc

from operators.export.parquet import FILE_BYTES, PartWriter, Written
from operators.export.row_ids import Difference, Ids, RowIdSet, difference, rows_of
from operators.export.target import Target
from operators.export.vectors import exported
from operators.storage import Storage, explained, is_within, normalize
from pipelines.export.history import source_of, why_anew
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.errors import ConflictError, LakeError, UsageError
from schemas.export import ExportedFile, ExportManifest, ExportSpec, Source, export_schema

_ROWS = 1024
_SMALL_FILES = 16
"""So many files of less than a quarter of the full size are merged into one."""


class Exported(Frozen):
    """What an export did. `anew` is why everything was written, None when only changes were."""

    target: str
    lake: str
    corpus: str
    space: str
    version: int
    number: int
    rows: int
    rows_added: int
    rows_removed: int
    files: int
    files_written: int
    files_removed: int
    bytes_written: int
    anew: str | None


def export_parquet(
    reader: LakeReader,
    spec: ExportSpec,
    target: str,
    storage: Storage = Storage(),
    *,
    full: bool = False,
    file_bytes: int = FILE_BYTES,
) -> Exported:
    """Bring a target up to date with the space that `spec` names, as `reader` sees it.

    Args:
        reader: of the lake.
        spec: what to export, as `pipelines.export.spec.check_spec` returned it.
        target: a folder or prefix that is empty or holds an export of the same `spec`.
        storage: how to reach it.
        full: write everything, also over an export of another `spec`.
        file_bytes: size of a file, about.

    Raises:
        UsageError: the target holds something else, or lies in the lake.
        ConflictError: another export to the target ended first; nothing of this one is seen.
        LakeError: the lake cannot be read or the target not be written.
    """
    uri = normalize(target)
    if is_within(uri, reader.layout.lake):
        raise UsageError(f"{uri} lies in the lake: name a target outside of it")
    with explained(uri, LakeError):
        return _Export(reader, spec, Target(uri, storage), full, file_bytes).run()


@dataclass(slots=True)
class _Plan:
    """What stays, what is written again without some rows, and what the lake has that the target lacks."""

    kept: list[ExportedFile] = field(default_factory=list)
    touched: list[ExportedFile] = field(default_factory=list)
    held: RowIdSet = field(default_factory=RowIdSet)
    lacking: Difference = field(default_factory=lambda: Difference(RowIdSet(), [], 0))
    removed: int = 0

    @property
    def empty(self) -> bool:
        return not (self.touched or self.lacking.added)


class _Export:
    """One export to one target."""

    def __init__(
        self, reader: LakeReader, spec: ExportSpec, target: Target, full: bool, file_bytes: int
    ) -> None:
        self.reader, self.spec, self.target, self.file_bytes = reader, spec, target, file_bytes
        self.table: lance.LanceDataset = reader.segments(spec.corpus, spec.space)
        self.schema = export_schema(self.table.schema, reader.space(spec.corpus, spec.space), spec)
        self.columns = tuple(f"{one.name} {one.type}" for one in self.schema)
        self.before = target.manifest() or self._begin()
        if not full and self.before.source is not None:
            self._check_same(self.before.spec)
        self.anew = self._why_anew(full)

    def run(self) -> Exported:
        if self.target.cut_short(self.before):
            self._finish_before()
        plan = self._plan()
        source = source_of(self.reader, self.spec.corpus, self.spec.space)
        if plan.empty and self.anew is None:
            after, strays = self.before, self.target.strays(self.before)
            if strays or source != self.before.source:
                # First recorded: they may be of an export that is about to end, and is refused by this.
                after = self._record(source, self.before.files)
                self.target.clean(after, strays)
            return self._report(plan, source, [], after)
        with ExitStack() as stack:
            written = self._write(plan, stack)
            strays = self.target.strays(self.before)
            after = self._show(source, plan.kept, written)
            stack.pop_all()
        gone = [file for file in self.before.files if file not in plan.kept]
        self._finish(plan.kept, written, [*self.target.with_ids(gone), *strays], after)
        return self._report(plan, source, written, after)

    def _show(self, source: Source, kept: list[ExportedFile], written: list[Written]) -> ExportManifest:
        """Make the files visible and record them; they stay when nobody knows whether that was recorded."""
        mine = [one.file for one in written]
        with ExitStack() as failed:
            failed.callback(self.target.remove, self.target.with_ids(mine))
            self.target.commit(written)
            failed.pop_all()
        try:
            return self._record(source, (*kept, *mine))
        except ConflictError:
            self.target.remove(self.target.with_ids(mine))
            raise

    def _finish(
        self, kept: Sequence[ExportedFile], written: list[Written], gone: list[str], after: ExportManifest
    ) -> None:
        """What follows once an export is recorded; one that died here is finished by the next."""
        self.target.put_metadata(self.schema, kept, written, after.number)
        self.target.clean(after, gone)

    def _finish_before(self) -> None:
        """Finish an export that died; when its files are about to go, only its leftovers go."""
        strays = self.target.strays(self.before)
        if self.before.columns == self.columns:
            self._finish(self.before.files, [], strays, self.before)
        else:
            self.target.clean(self.before, strays)

    def _begin(self) -> ExportManifest:
        """Mark an empty target as an export's, so that one that was cut short can be run again."""
        empty = ExportManifest(number=0, spec=self.spec, exported_at=datetime.now(UTC))
        self.target.record(empty)
        return empty

    def _check_same(self, held: ExportSpec) -> None:
        for name, mine in self.spec.model_dump(mode="json").items():
            theirs = held.model_dump(mode="json")[name]
            if mine != theirs:
                raise UsageError(
                    f"{self.target.uri} holds an export of {name} {_said(theirs)}, not {_said(mine)}: name another "
                    f"target, or --full to replace it"
                )

    def _why_anew(self, full: bool) -> str | None:
        before = self.before
        if before.source is None:
            return "the target was empty"
        if full:
            return "--full"
        if before.columns != self.columns:
            changed = sorted({*before.columns} ^ {*self.columns})
            return f"the lake has other columns now: {', '.join(changed)}"
        return why_anew(self.reader, before.source, self.spec.corpus, self.spec.space)

    def _plan(self) -> _Plan:
        plan = _Plan()
        held = self.before.files if self.anew is None else ()
        for _, ids in self.target.ids(held):
            plan.held.add(ids)
        plan.lacking = difference(self.table, plan.held)
        for file, ids in self.target.ids(held):
            left = int(plan.lacking.now.has(ids).sum())
            plan.removed += len(ids) - left
            if left == len(ids):
                plan.kept.append(file)
            else:
                plan.touched.append(file)
        self._merge_small(plan)
        return plan

    def _merge_small(self, plan: _Plan) -> None:
        """Many nights leave many small files; a folder's are written into one with what is written anyway."""
        if plan.empty:
            return
        small: dict[str, list[ExportedFile]] = {}
        for file in plan.kept:
            if file.bytes < self.file_bytes // 4:
                small.setdefault(_folder(file.path), []).append(file)
        merged = [file for files in small.values() if len(files) >= _SMALL_FILES for file in files]
        plan.kept = [file for file in plan.kept if file not in merged]
        plan.touched += merged

    def _write(self, plan: _Plan, stack: ExitStack) -> list[Written]:
        writers: dict[str, PartWriter] = {}
        name = f"part-{self.before.number + 1:08d}-{uuid.uuid4().hex[:8]}"
        for folder, ids, rows in self._rows(plan):
            if folder not in writers:
                writers[folder] = PartWriter(
                    self.target.storage, self.target.uri, folder + name, self.schema, self.file_bytes
                )
                stack.callback(writers[folder].discard)
            writers[folder].write(ids, rows)
        for writer in writers.values():
            writer.finish()
        return [one for writer in writers.values() for one in writer.written]

    def _rows(self, plan: _Plan) -> Iterator[tuple[str, Ids, pa.RecordBatch]]:
        """Folder, ids and rows of all that is to be written."""
        for file, ids in self.target.ids(plan.touched):
            yield from ((_folder(file.path), *part) for part in self._left(plan, file, ids))
        columns = [name for name in self.table.schema.names if name in self.schema.names]
        for ids, rows in rows_of(plan.lacking.fragments, columns, plan.held):
            made = exported(rows, self.schema, self.spec)
            if self.spec.partition is None:
                yield "", ids, made
                continue
            values = made.column(self.spec.partition)
            for value in pc.unique(values):
                mask = pc.equal(values, value)
                chosen = mask.to_numpy(zero_copy_only=False)
                yield f"{self.spec.partition}={quote(value.as_py())}/", ids[chosen], made.filter(mask)

    def _left(self, plan: _Plan, file: ExportedFile, ids: Ids) -> Iterator[tuple[Ids, pa.RecordBatch]]:
        """What is left of a file that lost rows, as it was written."""
        if not plan.lacking.now.has(ids).any():
            return
        start = 0
        with self.target.reader(file) as opened:
            for batch in opened.iter_batches(_ROWS, use_threads=False):
                mine = ids[start : start + batch.num_rows]
                start += batch.num_rows
                left = plan.lacking.now.has(mine)
                yield mine[left], batch.filter(pa.array(left))

    def _record(self, source: Source, files: Sequence[ExportedFile]) -> ExportManifest:
        after = ExportManifest(
            number=self.before.number + 1,
            spec=self.spec,
            source=source,
            columns=self.columns,
            files=tuple(files),
            exported_at=datetime.now(UTC),
        )
        self.target.record(after)
        return after

    def _report(self, plan: _Plan, source: Source, written: list[Written], after: ExportManifest) -> Exported:
        return Exported(
            target=self.target.uri,
            lake=source.lake,
            corpus=self.spec.corpus,
            space=self.spec.space,
            version=source.version,
            number=after.number,
            rows=sum(file.rows for file in after.files),
            rows_added=plan.lacking.added,
            rows_removed=plan.removed,
            files=len(after.files),
            files_written=len(written),
            files_removed=len(self.before.files) - len(plan.kept),
            bytes_written=sum(one.file.bytes for one in written),
            anew=self.anew,
        )


def _folder(path: str) -> str:
    head, slash, _ = path.rpartition("/")
    return head + slash


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
