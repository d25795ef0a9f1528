"""From a model's name to its spec: a local folder, a hub id, or a model that ships with embedlake."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, ValidationError

from operators.model.source import ModelSource, read_json
from schemas.card import Frozen
from schemas.errors import ModelError

if TYPE_CHECKING:
    from operators.model.contract import ModelSpec

FUSED_MODEL = "embedlake/fused-v1"
"""One bidirectional transformer over text, pictures and sound; small, trained, offline."""

BASELINE_MODEL = "embedlake/composed-v1"
"""The same ingredients fused late, speech by its transcript: what the fused model is measured against."""

DEFAULT_MODEL = FUSED_MODEL
"""What runs when no model is named."""

FAMILIES = {
    "composed": "operators.model.composed:ComposedSpec",
    "embedding-gemma2": "operators.model.gemma:EmbeddingGemmaSpec",
    "fused": "operators.model.fused.spec:FusedSpec",
    "sentence-transformer": "operators.model.sentence_transformer:SentenceTransformerSpec",
}
"""Model family to the class of its spec; each has `read(source, widths) -> ModelSpec`."""

SHIPPED = {FUSED_MODEL: "fused", BASELINE_MODEL: "composed"}
"""Models inside the package: their spec's `read` gets a source without a path."""

DECLARATION = "embedlake.json"
FUSED_CONFIG = "fused.json"
_BY_MODEL_TYPE = {"embedding_gemma2": "embedding-gemma2"}


class Declaration(Frozen):
    """`embedlake.json` in a model folder: what the other files do not say; a family may keep more in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    family: str | None = None
    model_id: str | None = None
    widths: tuple[int, ...] = Field(default=(), description="Matryoshka widths besides the full one")


def resolve(model: str) -> ModelSpec:
    """The spec of a model, by folder, hub id or shipped name; no weight is loaded.

    Raises:
        ModelError: unknown, missing, unreachable, or of a family that embedlake does not know.
    """
    if model in SHIPPED:
        return _spec(SHIPPED[model], ModelSource(model), ())
    if Path(model).is_dir():
        folder = Path(model).resolve()
        declared = _declaration(folder)
        source = ModelSource(declared.model_id or folder.name, str(folder))
    elif _is_hub_id(model):
        source = ModelSource(model).pinned()
        folder = source.folder()
        declared = _declaration(folder)
    else:
        raise ModelError(f"model folder '{model}' does not exist")
    return _spec(declared.family or _recognise(folder), source, declared.widths)


def _spec(family: str, source: ModelSource, widths: tuple[int, ...]) -> ModelSpec:
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelError(f"model '{source.model_id}' is of unknown family '{family}'; known are {known}")
    module, _, name = FAMILIES[family].partition(":")
    spec_class: Any = getattr(import_module(module), name)
    spec: ModelSpec = spec_class.read(source, widths)
    return spec


def _recognise(folder: Path) -> str:
    if (folder / FUSED_CONFIG).is_file():
        return "fused"
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type in _BY_MODEL_TYPE:
        return _BY_MODEL_TYPE[model_type]
    if (folder / "modules.json").is_file():
        return "sentence-transformer"
    raise ModelError(
        f"'{folder}' is no model that embedlake knows: neither {DECLARATION} with a family, nor modules.json "
        f"of sentence-transformers, nor {FUSED_CONFIG} of `embedlake train`, "
        f"nor a config.json of model_type {', '.join(_BY_MODEL_TYPE)}"
    )


def _declaration(folder: Path) -> Declaration:
    try:
        return Declaration.model_validate(read_json(folder / DECLARATION))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"'{folder / DECLARATION}': {where}: {first['msg']}") from None


def _is_hub_id(model: str) -> bool:
    owner, _, name = model.partition("/")
    return bool(owner and name) and not {"/", ":"} & set(model.replace("/", "", 1)) and owner[0] not in ".~"
