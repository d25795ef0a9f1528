"""Any model of the project as an encoder of mteb, so that its official tasks run on it.

import mteb
from operators.model.registry import resolve
from pipelines.evaluation.mteb import LakeEncoder

mteb.evaluate(LakeEncoder(resolve("embedlake/fused-v1")), mteb.get_tasks(["SciFact"]))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType
from PIL import Image
from scipy.signal import resample_poly

from operators.decode.image import fit_pixels
from operators.model.contract import ModelSpec
from operators.parts import Part, PartKind
from pipelines.evaluation.items import SpecEmbedder, Vectors
from schemas.card import Modality, ModelCard, Role
from schemas.errors import ModelError

_MEDIA: dict[Literal["image", "audio", "text"], Modality] = {
    "image": Modality.IMAGE,
    "audio": Modality.AUDIO,
    "text": Modality.TEXT,
}
"""Columns of mteb that mean what the project means by them, in the order in which a row's are fused."""
_FULL_SCALE = 32_767


class LakeEncoder(AbsEncoder):
    """Prepares as the pipeline does; a row of several columns (image, audio, text) becomes one fused vector.

    Queries get the card's prompt for queries, everything else the one for documents. mteb compares by cosine.
    """

    def __init__(
        self, spec: ModelSpec, width: int | None = None, device: str | None = None, threads: int | None = None
    ) -> None:
        """Load the model.

        Args:
            spec: of any family.
            width: one of the card's, the full one when None.
            device: the best one there is when None.
            threads: of the CPU.

        Raises:
            ModelError: it cannot be loaded, or has no such width.
        """
        if width is not None and width not in spec.card.widths:
            raise ModelError(f"model '{spec.card.model_id}' has the widths {spec.card.widths}, not {width}")
        self._embedder = SpecEmbedder(spec, device, threads)
        self._width = width or spec.card.dim
        self.mteb_model_meta = meta_of(spec.card)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Vectors:
        """Unit vectors of mteb's batches: float32 `[rows, width]`.

        Raises:
            ModelError: a batch has no column that the model takes.
            AssetError: a row that holds nothing.
        """
        role = Role.QUERY if prompt_type is PromptType.query else Role.DOCUMENT
        parts = [row for batch in inputs for row in rows_of(batch, self._embedder.card)]
        vectors = self._embedder.embed_parts(parts, role)[:, : self._width]
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def rows_of(batch: Mapping[str, Any], card: ModelCard) -> Iterator[tuple[Part, ...]]:
    """The model's input for each row of a batch of columns.

    Raises:
        ModelError: no column that the model takes.
    """
    columns = [(name, m) for name, m in _MEDIA.items() if name in batch and card.accepts(m)]
    if not columns:
        raise ModelError(f"model '{card.model_id}' takes none of {', '.join(sorted(batch))}")
    for values in zip(*(batch[name] for name, _ in columns), strict=True):
        filled = [(m, v) for (_, m), v in zip(columns, values, strict=True) if v is not None]
        yield tuple(_part(modality, value, card) for modality, value in filled)


def _part(modality: Modality, value: Any, card: ModelCard) -> Part:
    if modality is Modality.TEXT:
        return Part(PartKind.TEXT, value)
    if modality is Modality.AUDIO:
        return Part(
            PartKind.AUDIO, data=_samples(value["array"], int(value["sampling_rate"]), card.sample_rate)
        )
    if card.image is None or not isinstance(value, Image.Image):
        raise ModelError(f"model '{card.model_id}' takes no picture of type {type(value).__name__}")
    return Part(PartKind.IMAGE, data=fit_pixels(value, card.image))


def _samples(wave: Any, rate: int, wanted: int) -> npt.NDArray[np.int16]:
    """A float wave of any rate, several channels averaged, as int16 samples at the model's rate."""
    mono = np.asarray(wave, np.float64)
    mono = mono if mono.ndim == 1 else mono.mean(0 if mono.shape[0] < mono.shape[1] else 1)
    if rate != wanted:
        common = gcd(rate, wanted)
        mono = resample_poly(mono, wanted // common, rate // common)
    return np.asarray(np.clip(mono, -1, 1) * _FULL_SCALE, np.int16)


def meta_of(card: ModelCard) -> ModelMeta:
    """What mteb wants to know of a model; figures that the card does not have are left out."""
    name = card.model_id if "/" in card.model_id else f"local/{card.model_id}"
    return ModelMeta(
        loader=None,
        name=name,
        revision=card.weights_digest[:16],
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=card.limits.tokens,
        embed_dim=card.dim,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=bool(card.prompts),
        training_datasets=None,
        modalities=[name for name, modality in _MEDIA.items() if card.accepts(modality)],
    )
