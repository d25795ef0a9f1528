"""What maintenance, garbage collection and erasure say to people and to scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.chosen import Choice
    from pipelines.forget import Erasure
    from pipelines.gc import CorpusGarbage, Garbage
    from pipelines.maintenance import Maintenance

_SHOWN = 10


def show_maintenance(done: Maintenance, as_json: bool) -> None:
    """The tables of a corpus before and after."""
    if as_json:
        return print(done.model_dump_json())
    console = Console(highlight=False)
    if done.erasure:
        console.print(f"finished an erasure that was cut short: forgot {done.erasure.forgotten}")
    for table in done.tables:
        name = plain(table.table.removeprefix(f"{done.lake}/{done.corpus}/"))
        console.print(
            Text(f"{name}: {table.fragments_before} -> {table.fragments} fragments, version {table.version}"),
            soft_wrap=True,
        )
    if done.catalog_entry is None:
        console.print("nothing to compact")
    return _garbage(console, done.collected, "removed")


def show_garbage(found: Garbage, as_json: bool) -> None:
    """What was collected, corpus by corpus."""
    if as_json:
        return print(found.model_dump_json())
    console = Console(highlight=False)
    verb = "would remove" if found.dry_run else "removed"
    for corpus in found.corpora:
        _garbage(console, corpus, verb)
    if found.catalog_entries:
        console.print(f"catalog: {verb} {found.catalog_entries} entries")
    return console.print(f"{decimal(found.bytes)} {'to be freed' if found.dry_run else 'freed'}")


def show_choice(choice: Choice, as_json: bool) -> None:
    """What would be forgotten."""
    if as_json:
        return print(json.dumps({"erased": False, **choice.model_dump(mode="json")}))
    console = Console(highlight=False)
    console.print(
        f"{len(choice.uris)} to forget; the corpus holds {choice.assets} of them now, {choice.segments} segments"
    )
    for uri in choice.uris[:_SHOWN]:
        console.print(Text(f"  {plain(uri)}"), soft_wrap=True)
    if len(choice.uris) > _SHOWN:
        console.print(f"  ... and {len(choice.uris) - _SHOWN} more")
    _copies(console, choice.copies)
    return console.print("nothing was erased: add --yes")


def show_erasure(done: Erasure, as_json: bool) -> None:
    """What was forgotten."""
    if as_json:
        return print(json.dumps({"erased": True, **done.model_dump(mode="json")}))
    console = Console(highlight=False)
    console.print(
        f"forgot {done.forgotten}: {done.assets} assets and {done.segments} segments that readers saw, "
        f"{done.versions} old versions, {done.receipts} receipts; {decimal(done.bytes)} freed"
    )
    return console.print("every file that is left was read, and none holds them")


def show_allowed(count: int, as_json: bool) -> None:
    """How many URIs may come back."""
    print(json.dumps({"allowed_again": count}) if as_json else f"{count} may be embedded again")


def _copies(console: Console, copies: int) -> None:
    if copies:
        console.print(f"{copies} other assets have the same content and stay")


def _garbage(console: Console, found: CorpusGarbage, verb: str) -> None:
    spaces = f", spaces {', '.join(found.spaces)}" if found.spaces else ""
    console.print(
        Text(
            f"{found.corpus}: {verb} {found.versions} versions, {found.table_files} files of tables, "
            f"{found.receipts} receipts, {found.dead_runs} dead runs{spaces}; {decimal(found.bytes)}"
        )
    )
