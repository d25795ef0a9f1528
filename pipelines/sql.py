"""SQL over a lake: DuckDB with a view for each published table, pinned to one entry of the catalog."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipelines.reader import LakeReader
from schemas.errors import UsageError


def connect(reader: LakeReader) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB over the lake; Lance scans get the query's columns and filters pushed down.

    Views: each corpus' live space under the corpus' name, each space as `<corpus>__<space>`, and `assets`,
    `quarantine` and `runs` over all corpora. Nothing that a query does can change the lake.
    """
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    assets = []
    for name, corpus in reader.catalog.corpora.items():
        for space in corpus.spaces:
            table = f"{name}__{space}"
            connection.register(table, reader.segments(name, space))
            if space == corpus.live:
                connection.execute(f"CREATE VIEW {_quoted(name)} AS FROM {_quoted(table)}")
        connection.register(f"{name}__assets", reader.assets(name))
        assets.append(f"FROM {_quoted(f'{name}__assets')} SELECT '{name}' AS corpus, *")
    connection.execute(f"CREATE VIEW assets AS {' UNION ALL '.join(assets)}")
    connection.execute(
        "CREATE VIEW quarantine AS SELECT corpus, uri, source, size, media_type, error_stage, error_code, "
        "error_detail, run_id FROM assets WHERE status = 'quarantined'"
    )
    connection.register("runs", reader.runs_table())
    return connection


def query(reader: LakeReader, statement: str) -> pa.Table:
    """The result of one statement.

    Raises:
        UsageError: DuckDB refuses it; the first line of its message.
    """
    with connect(reader) as connection:
        try:
            relation = connection.sql(statement)
            return pa.table({}) if relation is None else relation.to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(f"SQL: {' '.join(str(error).split())[:400]}") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
