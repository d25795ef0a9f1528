"""The prompt of `embedlake sql`: statements to the `;`, a history, and completion from the lake."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from jobs.plain import plain
from jobs.show_sql import interruptible, show_results
from schemas.errors import EmbedlakeError
from schemas.sql import CALLS, RowFormat
from schemas.tables import ASSETS

if TYPE_CHECKING:
    from pipelines.reader import LakeReader
    from pipelines.sql import Session

_HELP = """\
Statements end with ; and may take several lines.
.tables          the tables there are
.schema NAME     the columns of one
.help            this
.quit            leave, as Ctrl-D does
embed('text'), embed_image('path'), cosine(a, b) and vector_search('corpus', 'text', k := 10) are embedlake's own."""
_COMMANDS = (".help", ".quit", ".schema", ".tables")
_FUNCTIONS = "SELECT DISTINCT function_name FROM duckdb_functions() ORDER BY 1"
_KEYWORDS = "SELECT keyword_name FROM duckdb_keywords() ORDER BY 1"
_WORD = re.compile(r"\w+")


def converse(session: Session, form: RowFormat, **terminal: Any) -> None:
    """Ask for statements until the person leaves; an error is one line, and the next statement is asked for."""
    prompt: PromptSession[str] = PromptSession(
        history=_history(),
        completer=ThreadedCompleter(Words(session.reader, session.views.names)),
        lexer=PygmentsLexer(SqlLexer),
        multiline=True,
        prompt_continuation="   ...> ",
        key_bindings=_bindings(),
        complete_while_typing=False,
        **terminal,
    )
    while True:
        try:
            text = prompt.prompt("embedlake> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text == ".quit":
            return
        try:
            interruptible(session, partial(_obey, session, text, form))
        except EmbedlakeError as error:
            print(f"embedlake: {plain(error)}", file=sys.stderr)
        except KeyboardInterrupt:
            print("embedlake: interrupted", file=sys.stderr)


def complete(text: str) -> bool:
    """Whether what is typed is to run: a command, or statements up to a `;` that is in no text or comment."""
    text = text.strip()
    if not text or text.startswith("."):
        return True
    if not text.endswith(";"):
        return False
    try:
        duckdb.extract_statements(text)
    except duckdb.Error as error:
        return "unterminated" not in str(error)
    return True


class Words(Completer):
    """Completes what stands before the cursor: tables, columns, functions and keywords, in this order."""

    def __init__(self, reader: LakeReader, tables: list[str]) -> None:
        self._reader = reader
        self._tables = tables

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Every word that begins as the one at the cursor does."""
        line = document.text_before_cursor.lstrip()
        if line.startswith(".") and " " not in line:
            yield from (Completion(c, -len(line)) for c in _COMMANDS if c.startswith(line))
            return
        typed = document.get_word_before_cursor(pattern=_WORD)
        known = dict.fromkeys(self._tables, "table") if line.startswith(".") else self._words
        for word, kind in known.items():
            if typed and word.lower().startswith(typed.lower()):
                yield Completion(word, -len(typed), display_meta=kind)

    @cached_property
    def _words(self) -> dict[str, str]:
        with duckdb.connect() as connection:  # not the session's: this is another thread
            functions = connection.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() ORDER BY 1"
            ).fetchall()
            keywords = connection.execute("SELECT keyword_name FROM duckdb_keywords() ORDER BY 1").fetchall()
        own = [name for (name,) in functions if _WORD.fullmatch(name) and not name.startswith("_")]
        kinds = {
            "table": self._tables,
            "column": self._columns(),
            "function": ["cosine", *CALLS, *own],
            "keyword": [word.upper() for (word,) in keywords],
        }
        found: dict[str, str] = {}
        for kind, words in kinds.items():
            for word in words:
                found.setdefault(word, kind)
        return found

    def _columns(self) -> list[str]:
        names = dict.fromkeys(ASSETS.names)
        for corpus in self._reader.catalog.corpora:
            names |= dict.fromkeys(self._reader.segments(corpus).schema.names)
        return list(names)


def _obey(session: Session, text: str, form: RowFormat) -> None:
    if not text.startswith("."):
        show_results(session.run(text), form, None)
        return
    command, _, name = text.rstrip("; ").partition(" ")
    if command == ".tables":
        print("\n".join(session.views.names))
    elif command == ".schema" and name:
        show_results(session.describe(name.strip()), form, None)
    elif command == ".help":
        print(_HELP)
    else:
        print(f"embedlake: unknown command {plain(text)}: .help lists them", file=sys.stderr)


def _bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return keys


def _history() -> History:
    """A file that its owner alone can read; only of this session where there can be none."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(home) / "embedlake" / "sql_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)
