"""The command line: every command, registered."""

from jobs.app import app
from jobs.commands import (
    backfill,
    compare,
    embed,
    evaluate,
    forget,
    gc,
    maintain,
    nightly,
    plan,
    promote,
    rollback,
    search,
    spaces,
    sql,
    status,
    train,
    widths,
)

__all__ = [
    "app",
    "backfill",
    "compare",
    "embed",
    "evaluate",
    "forget",
    "gc",
    "maintain",
    "nightly",
    "plan",
    "promote",
    "rollback",
    "search",
    "spaces",
    "sql",
    "status",
    "train",
    "widths",
]
