"""Lance tables of a lake: many writers stage fragments, one commit makes all of a run visible."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lance
import lance.commit
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from operators.lake.deletion import Deletion, Uris, delete_assets
from operators.storage import Storage
from schemas.errors import ConflictError, LakeError

if TYPE_CHECKING:
    import polars as pl

RUN_PROPERTY = "embedlake.run"
BASE_PROPERTY = "embedlake.base"
"""The version that a commit was made on. Lance may rebase a commit onto a concurrent one, and says nothing."""
LIVE_TAG = "live"


@dataclass(frozen=True, slots=True)
class Table:
    """One Lance table, by its URI."""

    uri: str
    storage: Storage

    def open(self, version: int | None = None) -> lance.LanceDataset:
        """The table at a version, the newest when None.

        Raises:
            LakeError: there is no such table or version.
        """
        try:
            return _again(lance.dataset, self.uri, version=version, storage_options=self.options)
        except (ValueError, OSError) as error:
            raise LakeError(f"cannot open table {self.uri}: {' '.join(str(error).split())[:200]}") from error

    @property
    def options(self) -> dict[str, str] | None:
        """Storage options of the table's URI."""
        return self.storage.lance_options(self.uri)

    def ensure(self, schema: pa.Schema) -> lance.LanceDataset:
        """The table's newest version; an empty one with `schema` is created where there is none."""
        try:
            return lance.write_dataset(
                schema.empty_table(),
                self.uri,
                schema=schema,
                mode="create",
                enable_stable_row_ids=True,
                storage_options=self.options,
            )
        except OSError as error:
            if "already exists" not in str(error):
                raise
            return self.open()

    def stage(self, rows: pa.Table | pa.RecordBatchReader) -> list[str]:
        """Write rows as fragments that no reader sees before `commit`; a reader's are held a batch at a time.

        Returns:
            the fragments' metadata, each as JSON.
        """
        written = write_fragments(rows, self.uri, mode="append", storage_options=self.options)
        return [json.dumps(fragment.to_json()) for fragment in written]

    def overwrite(self, rows: pa.RecordBatchReader) -> int:
        """The next version, which holds `rows` alone, with their schema and its metadata."""
        written = lance.write_dataset(
            rows, self.uri, mode="overwrite", enable_stable_row_ids=True, storage_options=self.options
        )
        return int(written.version)

    def staged_rows(self, fragment: str) -> pa.Table:
        """The rows of a staged, uncommitted fragment."""
        files = FragmentMetadata.from_json(fragment).files
        return pa.concat_tables([self._staged_file(file.path) for file in files])

    def staged_uris(self, file: str) -> pl.Series:
        """The assets whose rows a staged data file holds."""
        import polars as pl  # no worker needs it

        return pl.Series(self._staged_file(file, ["uri"])["uri"])

    def _staged_file(self, name: str, columns: list[str] | None = None) -> pa.Table:
        from lance.file import LanceFileReader

        uri = f"{self.uri}/data/{name}"
        return LanceFileReader(uri, storage_options=self.options, columns=columns).read_all().to_table()

    def landed(self, run_id: str, base: int) -> int | None:
        """The version that a run's commit made after version `base`, if it did land.

        A lost answer to a commit is resolved here, by reading the log, and never by guessing. A commit that
        Lance rebased onto a concurrent one holds another run's rows too, and does not count.
        """
        head = self.open()
        for version in range(head.version, base, -1):
            properties = _properties(head, version)
            alone = properties.get(BASE_PROPERTY) == str(version - 1)
            if properties.get(RUN_PROPERTY) == run_id and alone:
                return version
        return None

    def commit(self, run_id: str, base: int, fragments: Sequence[str], dropped_uris: Uris) -> int:
        """All changes of a run in one new version: staged fragments in, rows of `dropped_uris` out.

        The table is first brought back to `base` if a run that never published left versions above it.

        Returns:
            the version that holds the run; `base` when there was nothing to change.

        Raises:
            ConflictError: another run committed at the same time.
        """
        return _again(self._commit, run_id, base, fragments, dropped_uris)

    def _commit(self, run_id: str, base: int, fragments: Sequence[str], dropped_uris: Uris) -> int:
        # Called again where an answer broke off: whether the commit landed all the same is looked at first.
        if (version := self.landed(run_id, base)) is not None:
            return version
        if not fragments and not len(dropped_uris):
            return base
        head = self.on_top(base)
        gone = delete_assets(head, dropped_uris)
        return self.replace(head, gone, [FragmentMetadata.from_json(text) for text in fragments], run_id)

    def replace(
        self, head: lance.LanceDataset, gone: Deletion, new: list[FragmentMetadata], run_id: str
    ) -> int:
        """Commit a deletion and new fragments on `head`, as the version after it.

        Raises:
            ConflictError: another writer committed at the same time.
        """
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=gone.removed,
            updated_fragments=gone.updated,
            new_fragments=new,
            fields_modified=[],
        )
        properties = {RUN_PROPERTY: run_id, BASE_PROPERTY: str(head.version)}
        transaction = lance.Transaction(
            read_version=head.version, operation=operation, transaction_properties=properties
        )
        try:
            done = lance.LanceDataset.commit(
                self.uri, transaction, read_version=head.version, storage_options=self.options
            )
        except lance.commit.CommitConflictError as error:
            raise conflict(self.uri) from error
        if done.version != head.version + 1:
            raise conflict(self.uri)
        return int(done.version)

    def runs_between(self, base: int, version: int) -> list[str]:
        """The runs that committed after version `base`, up to `version`."""
        head = self.open(version)
        found = [_properties(head, v).get(RUN_PROPERTY) for v in range(base + 1, version + 1)]
        return [run_id for run_id in found if run_id is not None]

    def on_top(self, version: int) -> lance.LanceDataset:
        """The newest version, once its content is that of `version`: what a dead writer left above is undone."""
        head = self.open()
        return head if head.version == version else self.restore(version)

    def restore(self, version: int) -> lance.LanceDataset:
        """The table with a newest version whose content is that of `version`."""
        self.open(version).restore()  # type: ignore[no-untyped-call]
        return self.open()

    def tag_live(self, version: int) -> None:
        """Move the tag that direct readers open; it also keeps clean-up away from the version."""
        tags = self.open().tags
        known = _again(tags.list)
        if LIVE_TAG in known and known[LIVE_TAG]["version"] == version:
            return
        if LIVE_TAG not in known:
            # Storage that failed after it had written lets Lance's own retry meet the tag.
            with suppress(ValueError):
                tags.create(LIVE_TAG, version)
                return
        tags.update(LIVE_TAG, version)


_BROKEN_OFF = ("body error", "response body")
"""What Lance's errors say of an answer that broke off."""


def _cut_off(error: BaseException) -> bool:
    return isinstance(error, OSError | ValueError) and any(part in str(error) for part in _BROKEN_OFF)


_again = Retrying(
    retry=retry_if_exception(_cut_off),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
"""Calls what only reads, or may be repeated, until its answers are whole: Lance tries requests again, and not answers
that break off."""


def _properties(head: lance.LanceDataset, version: int) -> dict[str, str]:
    try:
        transaction = head.read_transaction(version)
    except TypeError:  # pylance 14 cannot read back a compaction of an indexed table; no run makes one
        return {}
    return (transaction.transaction_properties if transaction else None) or {}


def conflict(uri: str) -> ConflictError:
    """Another writer was at the same table."""
    return ConflictError(
        f"another run committed to {uri} at the same time; nothing was published: run it again"
    )
