"""The command line: every command, registered."""

from jobs.app import app
from jobs.commands import embed, nightly, plan, search, sql, status

__all__ = ["app", "embed", "nightly", "plan", "search", "sql", "status"]
