"""Where a model's files are, a folder or the hub at one commit, and what its small files say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ModelError

_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]
_HUB_SKIPPED = ["onnx/*", "openvino/*", ".*"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model by its id and either a folder that every node sees or a commit on the hub."""

    model_id: str
    path: str | None = None
    revision: str | None = None

    def folder(self) -> Path:
        """The folder with the model's files, downloaded first when it is on the hub.

        `HF_HUB_OFFLINE=1` keeps to what was downloaded before.

        Raises:
            ModelError: no such folder or hub id, no access, or the hub cannot be reached.
        """
        if self.path is None:
            return _download(self.model_id, self.revision)
        if not Path(self.path).is_dir():
            raise ModelError(f"model folder '{self.path}' does not exist on this node")
        return Path(self.path)

    def pinned(self) -> ModelSource:
        """The same source at the commit that is current now, so that all nodes load the same weights."""
        if self.path is not None:
            return ModelSource(self.model_id, str(Path(self.path).resolve()))
        return ModelSource(self.model_id, None, self.folder().name)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model, an empty one when the file is not there.

    Raises:
        ModelError: not a JSON object.
    """
    value = _json(path)
    if not isinstance(value, dict):
        raise ModelError(f"'{path}' is not a JSON object")
    return value


def modules_of(folder: Path) -> list[tuple[str, Path, dict[str, Any]]]:
    """The modules of a sentence-transformers model in order: class name, folder and config.

    Raises:
        ModelError: none are listed, or one is foreign code.
    """
    listed = _json(folder / "modules.json")
    if not isinstance(listed, list):
        raise ModelError(
            f"'{folder}' has no modules.json, so its pooling is unknown: save it with sentence-transformers"
        )
    for module in listed:
        if not module["type"].startswith("sentence_transformers."):
            raise ModelError(f"'{folder}' needs foreign code ({module['type']}), which is never run")
    paths = [folder / module["path"] for module in listed]
    names = [module["type"].rsplit(".", 1)[-1] for module in listed]
    return [(name, path, read_json(path / "config.json")) for name, path in zip(names, paths, strict=True)]


def license_of(folder: Path) -> str:
    """The licence named in the front matter of a model's README, empty when there is none."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    found = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("license:"))
    return next(found, "")


def card_widths(dim: int, widths: Sequence[int], model_id: str) -> tuple[int, ...]:
    """The full width and the narrower ones asked for, descending.

    Raises:
        ModelError: a width that the model does not have.
    """
    wrong = [w for w in widths if not 0 < w <= dim]
    if wrong:
        raise ModelError(f"model '{model_id}' is {dim} wide: it has no width {wrong[0]}")
    return tuple(sorted({dim, *widths}, reverse=True))


@contextmanager
def loading(model_id: str) -> Iterator[None]:
    """What reads a model's files, also as a decorator.

    Raises:
        ModelError: whatever a reader of weights has raised, in one line; it is no input's fault.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model '{model_id}' cannot be loaded: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an exception of a library says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _json(path: Path) -> object:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(f"'{path}' is not valid JSON: {error}") from None
    return value


def _download(model_id: str, revision: str | None) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    offline = constants.is_offline_mode()
    try:
        path = snapshot_download(
            model_id,
            revision=revision,
            allow_patterns=_HUB_FILES,
            ignore_patterns=_HUB_SKIPPED,
            local_files_only=offline,
        )
    except errors.GatedRepoError:
        raise ModelError(
            f"model '{model_id}' is gated: accept its terms at huggingface.co/{model_id}, set HF_TOKEN"
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise ModelError(f"model '{model_id}' is neither a folder here nor a model on the hub") from None
    except errors.LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise ModelError(
            f"model '{model_id}' is not in the local cache and {why}: download it, or name a local folder"
        ) from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelError(f"model '{model_id}' cannot be downloaded: {first_line(error)}") from None
    return Path(path)
