"""What SQL sees: the published tables of a lake, and the caller's own files. Each is opened when it is first named."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial

import duckdb

from operators.lake.singles import singles_of
from operators.user_tables import open_table
from pipelines.reader import LakeReader
from schemas.errors import UsageError
from schemas.groups import GroupKind

_QUARANTINE = (
    "SELECT corpus, uri, source, size, media_type, error_stage, error_code, error_detail, run_id "
    "FROM assets WHERE status = 'quarantined'"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_OWN = "SELECT lower(table_name) FROM duckdb_tables() UNION ALL SELECT lower(view_name) FROM duckdb_views()"


class Views:
    """The views of one connection, by their names in lower case."""

    def __init__(
        self, reader: LakeReader, connection: duckdb.DuckDBPyConnection, files: Mapping[str, str]
    ) -> None:
        """Know every view, and open none.

        Raises:
            UsageError: a file's name is no name of a view, or is taken.
        """
        self._reader = reader
        self._connection = connection
        self._made: set[str] = set()
        self._spaces: dict[str, tuple[str, str]] = {}
        self._makers: dict[str, Callable[[], object]] = {
            "assets": self._assets,
            "quarantine": partial(self._view, "quarantine", ["assets"], _QUARANTINE),
            "runs": self._runs,
        }
        for name, corpus in reader.catalog.corpora.items():
            self._makers[f"{name}__assets"] = partial(self._corpus_assets, name)
            for space in corpus.spaces:
                self._spaces[f"{name}__{space}"] = (name, space)
                self._makers[f"{name}__{space}"] = partial(self._space, name, space)
            for kind in corpus.now.groups:
                self._makers[f"{name}__{kind}"] = partial(self._groups, name, kind)
            live = f"{name}__{corpus.live}"
            self._spaces[name] = (name, corpus.live)
            self._makers[name] = partial(self._view, name, [live], f"FROM {quoted(live)}")
        for name, uri in files.items():
            self._check(name)
            self._makers[name.lower()] = partial(self._file, name, uri)

    @property
    def names(self) -> list[str]:
        """Every view, open or not."""
        return sorted(self._makers)

    def spaces(self, named: Collection[str]) -> set[tuple[str, str]]:
        """The corpus and space of each of the views that shows vectors."""
        return {self._spaces[name] for name in named if name in self._spaces}

    def open(self, named: Collection[str], own: Collection[str] = ()) -> None:
        """Open the views of these names; all of them when one is of no table, nor of the statement's `own`, or none is.

        Raises:
            LakeError: a table of the lake cannot be opened.
            SourceError: a file of the caller's cannot be opened.
        """
        known = self._makers.keys()
        unknown = set(named) - known - set(own)
        if unknown:
            unknown -= {row[0] for row in self._connection.execute(_OWN).fetchall()}
        for name in known if unknown or not named else known & set(named):
            self._need(name)

    def _need(self, name: str) -> None:
        if name not in self._made:
            self._makers[name]()
            self._made.add(name)

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"'{name}' is no name of a table: use letters, digits and _, starting with a letter"
            )
        if name.lower() in self._makers:
            raise UsageError(f"the lake has a table '{name}' already: choose another name")

    def _view(self, name: str, needs: list[str], select: str) -> None:
        for needed in needs:
            self._need(needed)
        self._connection.execute(f"CREATE VIEW {quoted(name)} AS {select}")

    def _space(self, corpus: str, space: str) -> None:
        self._connection.register(f"{corpus}__{space}", singles_of(self._reader.segments(corpus, space)))

    def _groups(self, corpus: str, kind: GroupKind) -> None:
        self._connection.register(f"{corpus}__{kind}", self._reader.groups(corpus, kind))

    def _corpus_assets(self, corpus: str) -> None:
        self._connection.register(f"{corpus}__assets", self._reader.assets(corpus))

    def _assets(self) -> None:
        corpora = list(self._reader.catalog.corpora)
        parts = [f"FROM {quoted(f'{name}__assets')} SELECT '{name}' AS corpus, *" for name in corpora]
        self._view("assets", [f"{name}__assets" for name in corpora], " UNION ALL ".join(parts))

    def _runs(self) -> None:
        self._connection.register("runs", self._reader.runs_table())

    def _file(self, name: str, uri: str) -> None:
        self._connection.register(name, open_table(uri, self._reader.storage))


def quoted(name: str) -> str:
    """A name as SQL's identifier."""
    return '"' + name.replace('"', '""') + '"'
