"""Lakes that have been in use: many runs, dead runs, staged leftovers. And what they hold, read from scratch."""

from __future__ import annotations

from datetime import UTC, datetime

EVER = datetime.max.replace(tzinfo=UTC)
