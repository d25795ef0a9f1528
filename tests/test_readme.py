"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.errors import RETRIED, ErrorCode

README = Path(__file__).resolve().parents[1] / "README.md"


def test_every_error_code_is_explained_and_the_retried_ones_are_marked() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", README.read_text(), re.MULTILINE)
    known = {str(code) for code in ErrorCode}
    codes = [(code, meaning) for code, meaning, _ in rows if code in known]
    assert [code for code, _ in codes] == [str(code) for code in ErrorCode]
    assert {code for code, meaning in codes if meaning.endswith(" *")} == {str(code) for code in RETRIED}
