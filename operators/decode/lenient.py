"""JSON of people's programs: an escape of half a character costs that character, and not the file."""

from __future__ import annotations

import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from operators.decode.chunk import whole_characters

M = TypeVar("M", bound=BaseModel)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(model: type[M], text: str | bytes) -> M:
    """The model of a JSON text; surrogates that stand alone in its strings are U+FFFD.

    Raises:
        ValidationError: as of the text itself.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        damaged = error.errors(include_input=False)[0]["type"] == "json_invalid"
        whole = _whole(text) if damaged else None
        if whole is None:
            raise
        return model.model_validate_json(whole)


def _whole(text: str | bytes) -> str | None:
    """The JSON without lone surrogates; None where there are none to blame."""
    try:
        known = text if isinstance(text, str) else text.decode()
        if not _SURROGATE.search(known):
            return None
        return whole_characters(json.dumps(json.loads(known), ensure_ascii=False))
    except (ValueError, RecursionError):
        return None
