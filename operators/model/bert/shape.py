"""Which models of text are a BERT whose states are pooled, and of what sizes: from their small files alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from operators.model.source import modules_of, read_json

WEIGHTS_FILE = "model.safetensors"
SETTINGS_FILE = "sentence_bert_config.json"
_STATES = {"method": "forward", "method_output_name": "last_hidden_state"}
"""How the library runs a model whose states it pools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of an encoder."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int = 2
    eps: float = 1e-12


class Pooling(StrEnum):
    """What of the last states is the vector."""

    MEAN = "mean"
    CLS = "cls"


@dataclass(frozen=True, slots=True)
class TextShape:
    """A model of text: its encoder, how that is pooled, and whether what comes out has length one."""

    encoder: Shape
    pooling: Pooling
    unit: bool

    @classmethod
    def read(cls, folder: Path) -> TextShape | None:
        """Of a sentence-transformers folder; None where it asks for anything that BERT is without.

        Raises:
            ModelError: a file is not JSON, or a module is foreign code.
        """
        (name, where, _), *modules = modules_of(folder)
        names = [one for one, _, _ in modules]
        if name != "Transformer" or where != folder or names not in (["Pooling"], ["Pooling", "Normalize"]):
            return None
        config, pooled = read_json(folder / "config.json"), pooling_modes(modules[0][2])
        plain = _is_bert(config) and _is_plain(read_json(folder / SETTINGS_FILE)) and _is_alone(folder)
        if not plain or len(pooled) != 1 or pooled[0] not in set(Pooling):
            return None
        return cls(_shape(config), Pooling(pooled[0]), "Normalize" in names)


def pooling_modes(config: dict[str, Any]) -> list[str]:
    """What a Pooling module joins, by the names of today's sentence-transformers: older ones set a flag for each."""
    named = config.get("pooling_mode")
    if named:
        return [named] if isinstance(named, str) else list(named)
    flags = [name for name, chosen in config.items() if name.startswith("pooling_mode_") and chosen]
    return [
        f.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for f in flags
    ] or [Pooling.MEAN]


def _is_plain(settings: dict[str, Any]) -> bool:
    """Whether a Transformer module is given nothing that changes its model: other arguments, task or states."""
    text = (settings.get("modality_config") or {"text": _STATES}).get("text", {})
    return (
        not any(value for name, value in settings.items() if name.endswith(("_args", "_kwargs")))
        and settings.get("transformer_task", "feature-extraction") == "feature-extraction"
        and settings.get("module_output_name", "token_embeddings") == "token_embeddings"
        and {name: text.get(name) for name in _STATES} == _STATES
    )


def _is_alone(folder: Path) -> bool:
    """Whether the weights are one file, with no adapter beside them and no settings of an older name."""
    others = {path.name for path in folder.glob("sentence_*_config.json")} - {SETTINGS_FILE}
    return (folder / WEIGHTS_FILE).is_file() and not (folder / "adapter_config.json").exists() and not others


def _is_bert(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is of a plain BERT: nothing quantised, no other activation, places or attention."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not any(config.get(name) for name in ("is_decoder", "add_cross_attention", "quantization_config"))
    )


def _shape(config: dict[str, Any]) -> Shape:
    """What a config leaves out is as in BERT's own."""
    return Shape(
        hidden=config.get("hidden_size", 768),
        layers=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        intermediate=config.get("intermediate_size", 3_072),
        vocabulary=config.get("vocab_size", 30_522),
        positions=config.get("max_position_embeddings", 512),
        types=config.get("type_vocab_size", 2),
        eps=config.get("layer_norm_eps", 1e-12),
    )
