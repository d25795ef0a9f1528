"""embedlake's own functions in a statement: found in DuckDB's parse of it, never in its text, and replaced there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
from pydantic import ValidationError

from schemas.errors import UsageError
from schemas.sql import CALLS, Call, VectorSearch

Answer = Callable[[Call], str]
"""Runs a call; the private name of the variable or, for a search, of the table that holds what came of it."""

_TOO_DEEP = "SQL: the statement is nested too deeply"
_LITERALS: dict[str, Callable[[str], str | int | None]] = {
    "STRING": str,
    "INTEGER": int,
    "NULL_LITERAL": lambda _: None,
}


def define(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known, for completion and for the calls that `rewrite` cannot reach."""
    connection.execute("CREATE MACRO cosine(a, b) AS list_cosine_similarity(a, b)")
    for name, kind in CALLS.items():
        fields = kind.model_fields.items()
        takes = ", ".join(n if f.is_required() else f"{n} := NULL" for n, f in fields)
        error = f"error('{name}() stands in a SELECT statement only, by its name alone')"
        body = f"TABLE SELECT {error}" if kind is VectorSearch else error
        connection.execute(f"CREATE MACRO {name}({takes}) AS {body}")


class Statement:
    """A statement and what DuckDB makes of it; only those that select have a tree."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, text: str) -> None:
        """Parse it; one that is no SQL is left to DuckDB to refuse.

        Raises:
            UsageError: it is nested too deeply.
        """
        self._connection = connection
        self._text = text
        serialised = _serialised(connection, text)
        self._calls = any(f'"{name}"' in serialised.lower() for name in CALLS)
        try:
            tree = json.loads(serialised)
        except RecursionError as error:
            raise UsageError(_TOO_DEEP) from error
        self._tree = None if tree["error"] else tree

    def tables(self) -> tuple[set[str], set[str]]:
        """The tables that it names, and the names that it gives itself with WITH, in lower case."""
        if self._tree is None:
            try:
                return {name.lower() for name in self._connection.get_table_names(self._text)}, set()
            except duckdb.Error:
                return set(), set()
        named: set[str] = set()
        own: set[str] = set()
        for node in _nodes(self._tree):
            if node.get("type") == "BASE_TABLE":
                named.add(node["qualified_name"]["path"][-1].lower())
            own.update(entry["key"].lower() for entry in (node.get("cte_map") or {}).get("map", ()))
        return named, own

    def rewritten(self, answer: Answer) -> str:
        """The statement with the answers in place of embedlake's calls; as it was when it has none.

        Raises:
            UsageError: an argument that is not a constant, or not one that the function takes.
        """
        if self._tree is None or not self._calls:
            return self._text
        try:
            tree = _Rewriter(self._connection, answer).walk(self._tree)
        except RecursionError as error:
            raise UsageError(_TOO_DEEP) from error
        return self._text if tree == self._tree else _sql(self._connection, tree)


class _Rewriter:
    def __init__(self, connection: duckdb.DuckDBPyConnection, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer

    def walk(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.get("type") == "TABLE_FUNCTION" and _name(node["function"]) == "vector_search":
            return self._table(node)
        if node.get("class") == "FUNCTION" and _name(node) in CALLS:
            return self._value(node)
        return {
            key: self._titled(value) if key == "select_list" else self.walk(value)
            for key, value in node.items()
        }

    def _titled(self, columns: list[Any]) -> list[Any]:
        """Output columns; one with a call in it keeps the title that DuckDB would have given it."""
        walked = [self.walk(column) for column in columns]
        for old, new in zip(columns, walked, strict=True):
            if new != old and not new["alias"]:
                new["alias"] = self._text(old)
        return walked

    def _text(self, expression: dict[str, Any]) -> str:
        tree = self._tree("SELECT 1")
        tree["statements"][0]["node"]["select_list"] = [expression]
        return _sql(self._connection, tree).removeprefix("SELECT ")

    def _table(self, node: dict[str, Any]) -> dict[str, Any]:
        table = self._node(f'FROM "{self._answer(_call(node["function"]))}"')["from_table"]
        kept = {key: node[key] for key in ("column_name_alias", "sample", "query_location")}
        return {**table, **kept, "alias": node["alias"] or "vector_search"}

    def _value(self, node: dict[str, Any]) -> dict[str, Any]:
        call = _call(node)
        if isinstance(call, VectorSearch):
            raise UsageError("SQL: vector_search() is a table: it stands behind FROM or JOIN")
        variable = self._answer(call)
        value = self._node(f"SELECT getvariable('{variable}')")["select_list"][0]
        return {**value, "alias": node["alias"], "query_location": node["query_location"]}

    def _node(self, template: str) -> Any:
        return self._tree(template)["statements"][0]["node"]

    def _tree(self, template: str) -> Any:
        return json.loads(_serialised(self._connection, template))


def _serialised(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    return _one(connection, "SELECT json_serialize_sql(?::VARCHAR)", statement)


def _sql(connection: duckdb.DuckDBPyConnection, tree: Any) -> str:
    return _one(connection, "SELECT json_deserialize_sql(?::JSON)", json.dumps(tree))


def _one(connection: duckdb.DuckDBPyConnection, statement: str, argument: str) -> str:
    ((found,),) = connection.execute(statement, [argument]).fetchall()
    return str(found)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _name(node: Any) -> str:
    """The name of a function that is called without a schema, else nothing."""
    path = (node.get("qualified_name") or {}).get("path", []) if isinstance(node, dict) else []
    called = isinstance(node, dict) and node.get("class") == "FUNCTION" and len(path) == 1
    return str(path[0]).casefold() if called else ""


def _call(node: dict[str, Any]) -> Call:
    name = _name(node)
    kind = CALLS[name]
    known = list(kind.model_fields)
    given: dict[str, Any] = {}
    for position, (argument, value) in enumerate(_arguments(name, node)):
        if not argument and position >= len(known):
            raise UsageError(f"SQL: {name}() takes {', '.join(known)}: no more")
        field = argument or known[position]
        if field in given:
            raise UsageError(f"SQL: {name}(): {field} is given twice")
        given[field] = value
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "arguments"
        raise UsageError(f"SQL: {name}(): {where}: {first['msg']}; it takes {', '.join(known)}") from error


def _arguments(name: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for argument in node["arguments"]:
        value = argument["expression"]
        literal = value.get("literal") or {}
        if value["class"] == "CONSTANT" and literal.get("kind") in _LITERALS:
            yield argument["name"].casefold(), _LITERALS[literal["kind"]](literal["text"])
        elif name == "vector_search" and _name(value) in CALLS:
            yield argument["name"].casefold(), _call(value)
        else:
            raise UsageError(
                f"SQL: {name}() takes constants, texts and whole numbers, not columns or expressions"
            )
