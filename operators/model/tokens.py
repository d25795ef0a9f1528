"""Text to tokens with a model's own fast tokenizer: counting, chunking and model input."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer

from schemas.errors import ModelError


class FastTokenizer:
    """A private copy of a model's tokenizer; a `TextCounter`.

    It never pads or truncates, whatever the saved file asks for, and reads a corpus' literal `<|image|>` or
    `[SEP]` as the characters that it is made of, never as the model's own marker.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        probe = self._tokenizer.encode("a")
        mask = np.asarray(probe.special_tokens_mask, bool)
        text = np.flatnonzero(~mask)
        first, last = (int(text[0]), int(text[-1]) + 1) if len(text) else (len(mask), len(mask))
        self.prefix = np.asarray(probe.ids[:first], np.int32)
        self.suffix = np.asarray(probe.ids[last:], np.int32)
        self.splits_at_spaces = _splits_at_spaces(json.loads(tokenizer.to_str()))

    @classmethod
    def from_folder(cls, folder: Path, markers: Iterable[int] = ()) -> Self:
        """The tokenizer of a model folder.

        Args:
            folder: holds `tokenizer.json`.
            markers: ids of tokens that no text may give, even where the file does not call them special.

        Raises:
            ModelError: the folder has no readable `tokenizer.json`.
        """
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"model folder '{folder}' has no tokenizer.json (a fast tokenizer)") from None
        except Exception as error:
            raise ModelError(f"'{path}' is not a readable tokenizer: {error}") from error
        added = tokenizer.get_added_tokens_decoder()
        plain = [added[i].content for i in markers if i in added and not added[i].special]
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in plain])
        return cls(tokenizer)

    def __reduce__(self) -> tuple[type[Self], tuple[Tokenizer]]:
        # encode_special_tokens is not part of the tokenizer's own pickle, so unpickling runs __init__ again.
        return type(self), (self._tokenizer,)

    def ids(self, text: str) -> npt.NDArray[np.int32]:
        """Token ids of a text, `prefix` and `suffix` left out: int32 `[tokens]`."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """Character spans of the text's tokens, special ones left out: int64 `[tokens, 2]`."""
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets
        # Three times as quick as an array of tuples.
        return np.fromiter(chain.from_iterable(spans), np.int64, 2 * len(spans)).reshape(-1, 2)

    def count(self, text: str) -> int:
        """How many tokens the text has, special ones left out."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def token_id(self, token: str) -> int | None:
        """The id of one of the model's own tokens, None when it has no such token."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found


def _splits_at_spaces(saved: dict[str, Any]) -> bool:
    """Whether a saved tokenizer is of a kind that never looks beyond a space."""
    normalizer, splitter = (saved.get(part) or {"type": None} for part in ("normalizer", "pre_tokenizer"))
    return normalizer["type"] in (None, "BertNormalizer", "Lowercase") and splitter["type"] in (
        "BertPreTokenizer",
        "Whitespace",
        "WhitespaceSplit",
    )
