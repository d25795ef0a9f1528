"""Filters that people write, as Lance reads them."""

from __future__ import annotations

from contextlib import suppress

import lance

from schemas.errors import UsageError

_NO_COLUMN = "_embedlake_absent"


def check_whole(table: lance.LanceDataset, where: str, named: str = "--where") -> None:
    """Refuse what Lance would read in part: it ignores all that follows the first whole expression.

    Args:
        table: any of the tables that the filter is for.
        where: the filter.
        named: what its author calls it.

    Raises:
        UsageError: it is not one expression. Anything else that is wrong with it is for the scan to say.
    """
    # What was read in full complains of the column that is not there, or of the filter itself.
    with suppress(ValueError, OSError):
        table.scanner(filter=f"{where} AND {_NO_COLUMN} = 1").explain_plan()
        raise UsageError(f"{named} '{where}': it is not one expression")
