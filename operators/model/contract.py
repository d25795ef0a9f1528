"""The model contract: a card, a picklable spec on the driver, an engine on the actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from operators.parts import Part
from schemas.card import ModelCard

Inputs = Sequence[tuple[Part, ...]]
"""A batch of model inputs; each is the ordered parts of what becomes one vector."""


class TextCounter(Protocol):
    """Counts tokens and maps them to characters: what chunking needs of a tokenizer."""

    @property
    def splits_at_spaces(self) -> bool:
        """Whether what lies between two spaces, tabs or line ends has the same tokens whatever is around them."""
        ...

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """Character spans of the text's tokens, special ones left out.

        Returns:
            int64 `[tokens, 2]`: start and end of each token, in characters.
        """
        ...

    def count(self, text: str) -> int:
        """How many tokens a text has, special ones left out: quicker than `offsets`."""
        ...


class Preparer(Protocol):
    """The CPU half of a model: everything that a GPU would wait for."""

    counter: TextCounter

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """Model-ready parts and the tokens that each input takes in the model's sequence.

        Raises:
            AssetError: an input that the model cannot take (stage `prepare`).
        """
        ...


class Engine(Protocol):
    """The loaded model, on one actor."""

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors at the full width, one for each prepared input, unit length not yet asked for.

        Returns:
            float32 `[inputs, dim]`.

        Raises:
            ModelError: a part of the model that was left on disk cannot be read; no input is to blame.
        """
        ...


@runtime_checkable
class Compiles(Protocol):
    """An engine that can be compiled for its device, for passes that are quicker after the first ones."""

    def compile(self) -> None:
        """Ask for it, before the first `embed`."""
        ...


class ModelSpec(Protocol):
    """A model that is not loaded: picklable, cheap, and enough to plan with."""

    @property
    def card(self) -> ModelCard:
        """What the model accepts and returns."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call one engine's `embed` at once: on CPUs it then serves several cores."""
        ...

    def preparer(self, role: str) -> Preparer:
        """The CPU half, for inputs of a role (`document`, `query`) or a task named on the card."""
        ...

    def load(self, device: str | None = None, threads: int | None = None, *, exact: bool = False) -> Engine:
        """The engine on a device (the best one when None), with that many CPU threads.

        It may calculate in bfloat16 where that is faster, unless `exact`: then in float32.

        Raises:
            ModelError: the weights cannot be read.
        """
        ...
