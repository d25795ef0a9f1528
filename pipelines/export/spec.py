"""What is asked of an export, checked against the space."""

from __future__ import annotations

from pipelines.reader import LakeReader
from schemas.errors import UsageError
from schemas.export import ExportSpec


def check_spec(reader: LakeReader, spec: ExportSpec) -> ExportSpec:
    """The spec with its widths ordered as the space has them; all of them when it names none.

    Raises:
        UsageError: the space lacks a width.
    """
    known = reader.space(spec.corpus, spec.space).widths
    if strange := set(spec.widths) - set(known):
        listed = ", ".join(map(str, known))
        raise UsageError(f"width {min(strange)} is not in the lake; choose of {listed}")
    return spec.model_copy(update={"widths": tuple(w for w in known if not spec.widths or w in spec.widths)})
