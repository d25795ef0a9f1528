"""SQL over a lake: DuckDB with a view for each published table, pinned to one entry of the catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from operators.faults import one_line
from pipelines.reader import LakeReader
from pipelines.sql_calls import Statement, define
from pipelines.sql_vectors import Vectors
from pipelines.sql_views import Views, quoted
from schemas.errors import LakeError, SourceError, UsageError

_STORAGE_MARK = "reading the stream registered"
_BATCH_ROWS = 8192
_NUMBERS = "tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint float double decimal"
_MOMENTS = "date,time,timestamp,timestamp_s,timestamp_ms,timestamp_ns,timestamp with time zone"
_PLAIN = frozenset({"boolean", "varchar", *_NUMBERS.split(), *_MOMENTS.split(",")})
_NESTED = frozenset({"list", "array", "struct", "map", "union"})


def query(reader: LakeReader, statement: str) -> pa.Table:
    """The result of one statement; of several, the last one's.

    Views: each corpus' live space under the corpus' name, each space as `<corpus>__<space>`, the live space's groups,
    when it has some, as `<corpus>__duplicates` and `<corpus>__clusters`, and `assets`, `quarantine` and `runs` over
    all corpora. Lance scans get the statement's columns and filters pushed down.
    Nothing that a statement does can change the lake, or read or write any file but those of the views.

    Raises:
        UsageError: DuckDB refuses it; the first line of its message.
        LakeError: a table cannot be read.
    """
    table = pa.table({})
    with opened(reader) as session:
        for result in session.run(statement):
            table = result.table()
    return table


@contextmanager
def opened(
    reader: LakeReader,
    *,
    corpus: str | None = None,
    model: str | None = None,
    tables: Mapping[str, str] | None = None,
    files: bool = False,
) -> Iterator[Session]:
    """A session: statements share their views, temporary tables and models.

    `corpus` and `model` are what `embed` takes where a statement does not tell; `tables` are files of the caller's by
    the names of their views. With `files`, `embed_image` reads whatever file a statement names: only for statements
    whose author may read what this process may.

    Raises:
        UsageError: a name in `tables` cannot be a view's.
    """
    with connected() as connection:
        define(connection)
        views = Views(reader, connection, tables or {})
        connection.execute("SET lock_configuration = true")
        vectors = Vectors(reader, connection, corpus, model, files)
        yield Session(reader, connection, views, vectors, Places(reader.layout.lake, tables or {}))


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


@dataclass(frozen=True, slots=True)
class Places:
    """Where the rows of a session come from: the lake, and the caller's files by the names of their views."""

    lake: str
    files: Mapping[str, str]

    @contextmanager
    def explained(self, *kinds: type[Exception]) -> Iterator[None]:
        """One line for a person from what DuckDB raises in the block, itself or as one of `kinds`.

        Raises:
            UsageError: the statement is at fault.
            SourceError: a file of the caller's is.
            LakeError: the lake is.
        """
        caught: tuple[type[Exception], ...] = (duckdb.Error, *kinds)
        try:
            yield
        except caught as error:
            text = one_line(str(error), 400)
            if _STORAGE_MARK not in text:
                raise UsageError(f"SQL: {text}") from error
            for name, uri in self.files.items():
                if f"{_STORAGE_MARK} as '{name}'" in text:
                    raise SourceError(f"cannot read {uri}: {text}") from error
            raise LakeError(f"cannot read {self.lake}: {text}") from error


class Session:
    """Statements over one consistent view of a lake, one after the other; `opened` makes it."""

    def __init__(
        self,
        reader: LakeReader,
        connection: duckdb.DuckDBPyConnection,
        views: Views,
        vectors: Vectors,
        places: Places,
    ) -> None:
        self.reader = reader
        self.views = views
        self._connection = connection
        self._vectors = vectors
        self._places = places
        self._streams: list[pa.RecordBatchReader] = []

    def run(self, text: str) -> Iterator[Result]:
        """Run the statements of a text in turn; what returns rows gives a result, to be read before the next one.

        Raises:
            UsageError: DuckDB refuses a statement, or a call of embedlake's functions is wrong.
            ModelError: a call needs a model that cannot be loaded, or is not the one of the vectors.
            LakeError: a table cannot be read.
        """
        _close(self._streams)
        with self._places.explained():
            statements = self._connection.extract_statements(text)
        for statement in statements:
            with self._places.explained():
                relation = self._relation(statement.query)
            if relation is not None and _returns(statement, relation):
                yield Result(relation, self._streams, self._places)
            _close(self._streams)

    def describe(self, name: str) -> Iterator[Result]:
        """The columns of a view or table, with their types."""
        return self.run(f"DESCRIBE {quoted(name)}")

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        self._connection.interrupt()

    def _relation(self, statement: str) -> duckdb.DuckDBPyRelation | None:
        self._vectors.forget()
        parsed = Statement(self._connection, statement)
        named, own = parsed.tables()
        spaces = self.views.spaces(named)
        rewritten = parsed.rewritten(lambda call: self._vectors.answer(call, spaces))
        calls_alone = not named and rewritten != statement
        if not calls_alone:
            self.views.open(named, own)
        return self._connection.sql(rewritten)


@dataclass(frozen=True, slots=True)
class Rows:
    """A stream of rows, read once; column names are unique."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement returns; nothing is held but the batch that is read."""

    relation: duckdb.DuckDBPyRelation
    streams: list[pa.RecordBatchReader]
    places: Places

    def rows(self, *, flat: bool = False) -> Rows:
        """The rows as record batches; `flat` makes texts of what a CSV cannot hold: JSON of what is nested.

        Raises:
            UsageError: the statement fails; batches raise it, too.
            LakeError: a table cannot be read; batches raise it, too.
        """
        _close(self.streams)
        with self.places.explained():
            stream = (self._flat() if flat else self.relation).to_arrow_reader(_BATCH_ROWS)
        self.streams.append(stream)
        schema = _unique(stream.schema)
        return Rows(schema, self._batches(stream, schema))

    def table(self) -> pa.Table:
        """All rows at once."""
        rows = self.rows()
        return pa.Table.from_batches(rows.batches, rows.schema)

    def _batches(self, stream: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self.places.explained(pa.ArrowException, OSError):
            for batch in stream:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def _flat(self) -> duckdb.DuckDBPyRelation:
        columns = []
        for at, (name, kind) in enumerate(zip(self.relation.columns, self.relation.types, strict=True), 1):
            plain = f"#{at}" if kind.id in _PLAIN else f"CAST(#{at} AS VARCHAR)"
            value = f"CAST(to_json(#{at}) AS VARCHAR)" if kind.id in _NESTED else plain
            columns.append(f"{value} AS {quoted(name)}")
        return self.relation.project(", ".join(columns))


def _returns(statement: duckdb.Statement, relation: duckdb.DuckDBPyRelation) -> bool:
    """Whether a statement was asked for rows, and not just done: then DuckDB gives `Success` or `Count`."""
    expected = statement.expected_result_type
    counts = duckdb.ExpectedResultType.CHANGED_ROWS in expected and relation.columns == ["Count"]
    return duckdb.ExpectedResultType.QUERY_RESULT in expected and not counts


def _close(streams: list[pa.RecordBatchReader]) -> None:
    """End what was left unread: DuckDB runs nothing beside an open stream."""
    for stream in streams:
        stream.close()
    streams.clear()


def _unique(schema: pa.Schema) -> pa.Schema:
    names: list[str] = []
    for name in schema.names:
        unique, again = name, 0
        while unique in names:
            again += 1
            unique = f"{name}_{again}"
        names.append(unique)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
