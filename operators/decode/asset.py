"""What a decoder gets: a seekable file and everything that decides how it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from operators.decode.beside import chunk_room
from operators.decode.sniff import MediaType
from operators.model.contract import TextCounter
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

OpenReference = Callable[[str], BinaryIO]
"""Opens what an asset refers to, relative or absolute; raises AssetError where that is not allowed."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset on its way to segments; `name` is its URI or file name."""

    file: BinaryIO
    name: str
    media: MediaType
    recipe: Recipe
    card: ModelCard
    counter: TextCounter
    open_ref: OpenReference

    @property
    def text_budget(self) -> int:
        """Tokens of one chunk of text."""
        return chunk_room(self.recipe, self.card)

    @property
    def takes_pictures(self) -> bool:
        """Whether pictures join the text around them in one segment."""
        card = self.card
        mixed = card.accepts(Modality.DOCUMENT) and card.accepts(Modality.IMAGE)
        return self.recipe.text.images and mixed and card.image is not None and card.limits.images > 0

    def read(self, most: int) -> bytes:
        """The whole file.

        Raises:
            AssetError: LIMIT for more than `most` bytes.
        """
        self.file.seek(0)
        body = self.file.read(most + 1)
        if len(body) > most:
            raise AssetError(
                ErrorCode.LIMIT, f"{self.media.mime} of more than {most} bytes is not read whole"
            )
        return body
