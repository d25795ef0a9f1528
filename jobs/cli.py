"""The command line: every command, registered."""

from jobs.app import app
from jobs.commands import (
    embed,
    evaluate,
    forget,
    gc,
    maintain,
    nightly,
    plan,
    search,
    sql,
    status,
    train,
)

__all__ = [
    "app",
    "embed",
    "evaluate",
    "forget",
    "gc",
    "maintain",
    "nightly",
    "plan",
    "search",
    "sql",
    "status",
    "train",
]
