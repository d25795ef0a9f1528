"""SQL over a lake: DuckDB with a view for each published table, pinned to one entry of the catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from pipelines.reader import LakeReader
from schemas.catalog import Corpus
from schemas.errors import LakeError, UsageError

_STORAGE_MARK = "reading the stream registered"
_QUARANTINE = (
    "CREATE VIEW quarantine AS SELECT corpus, uri, source, size, media_type, error_stage, error_code, "
    "error_detail, run_id FROM assets WHERE status = 'quarantined'"
)


def query(reader: LakeReader, statement: str) -> pa.Table:
    """The result of one statement.

    Views: each corpus' live space under the corpus' name, each space as `<corpus>__<space>`, the live space's groups,
    when it has some, as `<corpus>__duplicates` and `<corpus>__clusters`, and `assets`, `quarantine` and `runs` over
    all corpora. Lance scans get the statement's columns and filters pushed down.
    Nothing that a statement does can change the lake, or read or write any file but those of the views.

    Raises:
        UsageError: DuckDB refuses it; the first line of its message.
        LakeError: a table cannot be read.
    """
    with connected() as connection:
        try:
            _Views(reader, connection, statement).register()
            connection.execute("SET lock_configuration = true")
            relation = connection.sql(statement)
            return pa.table({}) if relation is None else _unique(relation.to_arrow_table())
        except duckdb.Error as error:
            text = " ".join(str(error).split())[:400]
            if _STORAGE_MARK in text:
                raise LakeError(f"cannot read {reader.layout.lake}: {text}") from error
            raise UsageError(f"SQL: {text}") from error


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that can read and write no file but its own spill."""
    # DuckDB allows files in its spill folder, so that must be nobody else's.
    with tempfile.TemporaryDirectory(prefix="embedlake-") as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "enable_external_access": "false",
            "python_enable_replacements": "false",
            "temp_directory": spill,
        }
        with duckdb.connect(config=settings) as connection:
            yield connection


class _Views:
    """The views that a statement names; all of them when it names others, or none."""

    def __init__(self, reader: LakeReader, connection: duckdb.DuckDBPyConnection, statement: str) -> None:
        self._reader = reader
        self._connection = connection
        named = _tables(connection, statement)
        self._named = named if named and named <= self._known() else None

    def register(self) -> None:
        corpora = self._reader.catalog.corpora
        for name, corpus in corpora.items():
            self._spaces(name, corpus)
            self._groups(name, corpus)
        if self._wants("assets", "quarantine", *(f"{name}__assets" for name in corpora)):
            self._assets()
        if self._wants("runs"):
            self._connection.register("runs", self._reader.runs_table())

    def _wants(self, *names: str) -> bool:
        return self._named is None or not self._named.isdisjoint(names)

    def _known(self) -> set[str]:
        known = {"assets", "quarantine", "runs"}
        for name, corpus in self._reader.catalog.corpora.items():
            known |= {name, f"{name}__assets", *(f"{name}__{space}" for space in corpus.spaces)}
            known |= {f"{name}__{kind}" for kind in corpus.now.groups}
        return known

    def _spaces(self, name: str, corpus: Corpus) -> None:
        for space in corpus.spaces:
            table, live = f"{name}__{space}", space == corpus.live
            if self._wants(table, *([name] if live else [])):
                self._connection.register(table, self._reader.segments(name, space))
                if live:
                    self._connection.execute(f"CREATE VIEW {_quoted(name)} AS FROM {_quoted(table)}")

    def _groups(self, name: str, corpus: Corpus) -> None:
        for kind in corpus.now.groups:
            if self._wants(f"{name}__{kind}"):
                self._connection.register(f"{name}__{kind}", self._reader.groups(name, kind))

    def _assets(self) -> None:
        parts = []
        for name in self._reader.catalog.corpora:
            self._connection.register(f"{name}__assets", self._reader.assets(name))
            parts.append(f"FROM {_quoted(f'{name}__assets')} SELECT '{name}' AS corpus, *")
        self._connection.execute(f"CREATE VIEW assets AS {' UNION ALL '.join(parts)}")
        self._connection.execute(_QUARANTINE)


def _tables(connection: duckdb.DuckDBPyConnection, statement: str) -> set[str]:
    try:
        return {name.lower() for name in connection.get_table_names(statement)}
    except duckdb.Error:
        return set()


def _unique(table: pa.Table) -> pa.Table:
    names: list[str] = []
    for name in table.column_names:
        unique, again = name, 0
        while unique in names:
            again += 1
            unique = f"{name}_{again}"
        names.append(unique)
    return table.rename_columns(names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
