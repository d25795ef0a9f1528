"""A training recipe: data and schedule as a YAML file, typed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from operators.model.source import first_line
from pipelines.training.asking import AskingRecipe
from pipelines.training.mixing import MixingRecipe
from pipelines.training.projection import ProjectionRecipe
from pipelines.training.sight import SightRecipe
from pipelines.training.trainer import Stage
from schemas.card import Frozen
from schemas.errors import UsageError

RECIPES = Path(__file__).with_name("recipes")


class DataRecipe(Frozen):
    """`sources` of pictures; `pictures` limits how many are taken, `folds` of nouns give each picture a concept from
    a regression without its noun, and the first fold is validation. So many `sentences` and `phrases` are spoken.
    """

    sources: tuple[Literal["clipart", "fluent", "noto"], ...] = ("clipart", "fluent", "noto")
    pictures: int | None = Field(default=None, gt=0)
    sentences: int = Field(default=0, ge=0)
    phrases: int = Field(default=0, ge=0)
    pairs: int | None = Field(default=None, gt=0)
    folds: int = Field(default=6, gt=1)


class JointStage(Stage):
    """A stage of the joint training. `learning`: prefixes of the parameters that learn; all but the word embeddings
    where it is empty.
    """

    learning: tuple[str, ...] = ()


class Recipe(Frozen):
    """Everything that decides a run, but for versions and hardware.

    `hearing`: stages of the hearing adapter, of the tasks `speech` and `unspoken`; `mixing` and the joint `stages`:
    each from where the last one ended; `soup`: checkpoints in the mixture at most, repetitions counted;
    `projection`: the principal axes stay where it is not given; `asking`: last, and only if there are pages.
    """

    name: str
    seed: int = 0
    data: DataRecipe = DataRecipe()
    sight: SightRecipe = SightRecipe()
    hearing: tuple[Stage, ...] = ()
    mixing: tuple[MixingRecipe, ...] = ()
    stages: tuple[JointStage, ...] = ()
    projection: ProjectionRecipe | None = None
    asking: AskingRecipe | None = None
    widths: tuple[int, ...] = (384, 256, 128, 64)
    soup: int = Field(default=6, gt=0)


def load_recipe(name: str) -> Recipe:
    """A recipe by the name of one that the project has, or by a path.

    Raises:
        UsageError: there is none of that name, or it says something unknown.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise UsageError(f"no training recipe '{name}': there are {known}, or name a .yaml file") from None
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UsageError(f"training recipe '{path}': {first_line(error)}") from error
