"""The command line: every command, registered."""

from jobs.app import app
from jobs.commands import embed, search, sql, status

__all__ = ["app", "embed", "search", "sql", "status"]
