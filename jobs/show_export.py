"""What an export says to people and to scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.export.parquet import Exported
    from pipelines.export.push import Pushed


def show_export(done: Exported, as_json: bool) -> None:
    """What an export to Parquet wrote."""
    if as_json:
        return print(done.model_dump_json())
    console = Console(highlight=False)
    if done.anew:
        console.print(Text(f"everything is written: {plain(done.anew)}"), soft_wrap=True)
    elif not done.files_written and not done.files_removed:
        console.print("nothing has changed")
    console.print(
        Text(
            f"{plain(done.target)} holds version {done.version} of {done.corpus}, space {done.space}: {done.rows} rows "
            f"in {done.files} files"
        ),
        soft_wrap=True,
    )
    return console.print(
        f"{done.rows_added} rows added, {done.rows_removed} removed; {done.files_written} files written "
        f"({decimal(done.bytes_written)}), {done.files_removed} removed"
    )


def show_push(done: Pushed, as_json: bool) -> None:
    """What a push did to each collection."""
    if as_json:
        return print(done.model_dump_json())
    console = Console(highlight=False)
    for one in done.collections:
        why = f", made anew: {plain(one.anew)}" if one.anew else ""
        rows = (
            f"{one.rows} rows of version {done.version}, {one.rows_added} added, {one.rows_removed} removed"
        )
        console.print(Text(f"{one.collection} in {plain(done.target)}: {rows}{why}"), soft_wrap=True)
    return None


def show_lines(found: dict[str, str], as_json: bool) -> None:
    """Lines to type, as they are; a comment before each tool's when there are several."""
    if as_json:
        return print(json.dumps(found))
    for tool, text in found.items():
        if len(found) > 1:
            print(f"# {tool}")
        print(text)
    return None
