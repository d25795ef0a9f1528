"""The start-up guard: the four generic package names must come from one house."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from schemas.errors import UsageError

PACKAGES = ("schemas", "operators", "pipelines", "jobs")


def check_house() -> Path:
    """The parent folder that all four packages come from.

    Raises:
        UsageError: a foreign package shadows one of them, or one is missing.
    """
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise UsageError(f"package '{name}' of embedlake is missing: run from the checkout, or reinstall")
        found = Path(spec.origin).resolve().parent.parent
        if found != home:
            raise UsageError(
                f"package '{name}' comes from {found}, not from embedlake in {home}: "
                f"uninstall the foreign '{name}' or run `python -m jobs` from {home}"
            )
    return home
