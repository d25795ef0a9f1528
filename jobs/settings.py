"""Config and recipe files, checked key by key."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from schemas.card import Frozen
from schemas.config import Config
from schemas.errors import UsageError
from schemas.nightly import Nightly
from schemas.recipe import Recipe

DEFAULT_CONFIG = Path("embedlake.yaml")
RECIPES = Path(__file__).resolve().parent / "recipes"
"""The recipes that ship, by file name."""
Model = TypeVar("Model", bound=Frozen)


def load_config(path: Path | None) -> Config:
    """The config file, `embedlake.yaml` of the working folder when there is one, else the defaults.

    Raises:
        UsageError: missing, not YAML, or with a key or value that is not known.
    """
    if path is None and not DEFAULT_CONFIG.is_file():
        return Config()
    return load_yaml(path or DEFAULT_CONFIG, Config)


def load_recipe(name: str | Path | None) -> Recipe:
    """The segmentation recipe of that name, or of a file; the default one when None.

    A bare name is one that ships: write `./debug` for a file of such a name.

    Raises:
        UsageError: missing, not YAML, or with a key or value that is not known.
    """
    if name is None:
        return Recipe()
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if str(name) in shipped:
        return load_yaml(shipped[str(name)], Recipe)
    if not Path(name).exists() and str(name) == Path(name).stem:
        raise UsageError(f"no recipe '{name}': name one of {', '.join(shipped)}, or a YAML file")
    return load_yaml(Path(name), Recipe)


def load_nightly(path: Path) -> Nightly:
    """The config of `embedlake nightly`; its relative paths become paths below its folder.

    Raises:
        UsageError: missing, not YAML, or with a key or value that is not known.
    """
    loaded = load_yaml(path, Nightly)
    home = path.absolute().parent
    corpora = tuple(
        corpus.model_copy(
            update={
                "sources": tuple(_below(home, source) for source in corpus.sources),
                "allow": tuple(_below(home, root) for root in corpus.allow),
                "recipe": _file_below(home, corpus.recipe),
                "model": _file_below(home, corpus.model),
            }
        )
        for corpus in loaded.corpora
    )
    places = {"lake": _below(home, loaded.lake), "report": loaded.report and _below(home, loaded.report)}
    return loaded.model_copy(update={**places, "corpora": corpora})


def _below(home: Path, path: str) -> str:
    """A path of the config; one that ends in `/` keeps that, since it says that it is a folder."""
    if "://" in path or path.startswith("~"):
        return path
    return os.path.join(home, path)


def _file_below(home: Path, name: str | None) -> str | None:
    """A name that may be a file's: only one that starts with a dot or ends as YAML does is taken for a path."""
    is_path = name is not None and (name.startswith(".") or name.endswith((".yaml", ".yml")))
    return _below(home, name) if name is not None and is_path else name


def version() -> str:
    """The installed version; `0+checkout` when run from a checkout that is not installed."""
    try:
        return installed_version("embedlake")
    except PackageNotFoundError:
        return "0+checkout"


def load_yaml(path: Path, kind: type[Model]) -> Model:
    """A YAML file as a typed config.

    Raises:
        UsageError: missing, not YAML, or with a key or value that is not known.
    """
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where or 'file'}: {first['msg']}") from error
