"""The weights digest: one sha256 over everything in a model folder that decides its vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from schemas.card import ModelCard
from schemas.errors import ModelError

_DECIDING = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_SKIPPED_FOLDERS = frozenset({"onnx", "openvino"})
_SKIPPED_FILES = frozenset(
    {"embedlake.json", "data_config.json", "requirements.txt", "license.txt", "readme.txt"}
)
_CHUNK = 1 << 22


def deciding_files(folder: Path) -> list[Path]:
    """Weights, configs, tokenizer and processor files, sorted by their path within the folder.

    Every JSON counts unless it is known not to matter: a file too many costs a re-embedding, one too few
    mixes two spaces.

    Raises:
        ModelError: the folder is missing, or its weights are absent or pickled.
    """
    if not folder.is_dir():
        raise ModelError(f"model folder '{folder}' does not exist")
    files = [p for p in folder.rglob("*") if p.is_file() and not _skipped(p.relative_to(folder))]
    _refuse_pickles(files)
    if not any(p.suffix == ".safetensors" for p in files):
        raise ModelError(f"model folder '{folder}' holds no .safetensors weights")
    return sorted((p for p in files if p.suffix in _DECIDING), key=lambda p: p.relative_to(folder).as_posix())


def weights_digest(folder: Path) -> str:
    """The sha256 over names, sizes and bytes of `deciding_files`; read as a stream.

    Raises:
        ModelError: as `deciding_files`.
    """
    digest = hashlib.sha256()
    for path in deciding_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def check_weights(folder: Path, card: ModelCard) -> None:
    """Refuse to load weights that are not those of the card: a node may hold another copy (I4).

    Raises:
        ModelError: the folder's digest differs from the card's.
    """
    if weights_digest(folder) != card.weights_digest:
        raise ModelError(f"the weights of model '{card.model_id}' in '{folder}' are not those of its card")


def _skipped(relative: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return hidden or relative.parts[0] in _SKIPPED_FOLDERS or relative.name.lower() in _SKIPPED_FILES


def _refuse_pickles(files: list[Path]) -> None:
    safe = {p.parent for p in files if p.suffix == ".safetensors"}
    for path in sorted(files):
        if path.suffix in _PICKLED and path.parent not in safe:
            raise ModelError(
                f"'{path}' is a pickle, which can run code when it is read; convert it to .safetensors"
            )
