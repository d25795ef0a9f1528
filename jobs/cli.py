"""The command line: every command, registered."""

from jobs.app import app
from jobs.commands import embed, plan, search, sql, status

__all__ = ["app", "embed", "plan", "search", "sql", "status"]
