"""A recipe from packages to weights: concepts, speaker, joint stages, soup, and the record of all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from operators.model.composed import ingredients
from operators.model.composed.prepare import WINDOW
from operators.model.device import pick_device
from operators.model.fused.config import FusedConfig
from operators.model.fused.hearing import word_pieces
from operators.model.fused.network import WEIGHTS_FILE, FusedNetwork, from_ingredients
from operators.model.tokens import FastTokenizer
from pipelines.training.asking import AskingRecipe, teach_roles
from pipelines.training.heads import rotation_of
from pipelines.training.hearing import teach_hearing
from pipelines.training.joint import Item, Reader, Seen
from pipelines.training.mixing import teach_mixtures
from pipelines.training.pairs import joint_tasks, retrieval_pairs, utterances
from pipelines.training.prepare import TrainingData, prepare, unfitted_concepts
from pipelines.training.projection import learn_projection
from pipelines.training.recipe import JointStage, Recipe
from pipelines.training.record import RECORD_FILE, RunRecord, StageRecord, versions
from pipelines.training.sight import fit_concepts, teach_speaker
from pipelines.training.soup import State, blend, greedy_soup
from pipelines.training.trainer import Stage, Task, Trainer
from pipelines.training.validate import Validation

Progress = Callable[[str], None]
_VALIDATION_FOLD = 0
_SPEAKER = "speaker"
_UNSEEN = 200
"""Text pairs and wishes that are kept for validation."""
_UNSEEN_PAGES = 420
_PICTURES = 300
"""Pictures of the validation fold that are looked at."""
_EVERY = 50


def run_recipe(
    recipe: Recipe,
    folder: Path,
    work: Path,
    *,
    device: str | None = None,
    progress: Progress = lambda _: None,
    data: TrainingData | None = None,
) -> RunRecord:
    """Train by a recipe; what an interrupted run left in `folder` is continued.

    Args:
        recipe: what to do.
        folder: gets the weights as shipped, the record, its plot and the checkpoints of the joint stages.
        work: packages and features; what lies there is not made again.
        device: as torch names it; the best one by default. On a GPU the trunk runs in bfloat16.
        progress: is told what happens, in lines.
        data: instead of what the recipe's data would be.

    Raises:
        SourceError: a package could not be fetched.
        ModelError: an ingredient is missing or another one.
        UsageError: the recipe draws a task that there is no data for, or the folder holds another run.
    """
    chosen = pick_device(device, None)
    folder.mkdir(parents=True, exist_ok=True)
    progress("data: packages, features, captions")
    data = data or prepare(recipe.data, work, recipe.seed)
    run = _Run(recipe, data, folder, chosen, progress)
    network = run.start()
    stages = [run.speaker(network)]
    if data.sounds and recipe.hearing:
        stages.append(run.hearing(network))
    run.keep(network, _SPEAKER)
    seen, folds = unfitted_concepts(data, recipe.sight, recipe.data.folds, network.vision.concepts.classifier)
    network = network.to(chosen)
    seen = [Seen(s.concept.to(chosen)) for s in seen]
    stages += run.mix(network, seen, folds)
    stages += run.join(network, run.tasks(seen, folds))
    kept = [i for i, number in enumerate(folds) if number == _VALIDATION_FOLD][:_PICTURES]
    validation = Validation.of(data, kept, seen, _UNSEEN)
    soup, scores = run.blend(network, validation)
    if recipe.projection:
        scores["projection"] = run.project(network, seen, folds, validation)
    if recipe.asking and data.pages:
        stages.append(run.ask(network, recipe.asking))
    network.cpu().save(folder, packed=True)
    record = RunRecord(
        recipe=recipe.model_dump(mode="json"),
        versions=versions(),
        stages=tuple(stages),
        soup=soup,
        scores=scores,
    )
    record.write(folder)
    return record


@dataclass(frozen=True, slots=True)
class _Run:
    recipe: Recipe
    data: TrainingData
    folder: Path
    device: torch.device
    progress: Progress

    def start(self) -> FusedNetwork:
        """The ingredients, what is fitted in closed form, and a projection onto the texts' principal axes."""
        recipe, data = self.recipe, self.data
        torch.manual_seed(recipe.seed)
        network = from_ingredients(FusedConfig(image_anchors=len(data.pictures), widths=recipe.widths))
        fit_concepts(network.vision.concepts, data.features, data.captions, data.classes, recipe.sight)
        whisper, trunk = (
            Tokenizer.from_file(str(i.path())) for i in (ingredients.SPEECH_TOKENIZER, ingredients.TOKENIZER)
        )
        with torch.no_grad():
            network.audio.pieces.copy_(word_pieces(whisper, trunk, network.config.audio_words))
            network.projection.weight.copy_(rotation_of(data.captions.vectors)[: recipe.widths[0]])
        return network

    def speaker(self, network: FusedNetwork) -> StageRecord:
        """Teach the speaker, or read it where an earlier call of this run left it; beside words it says the same."""
        kept, began = self.folder / "speaker.pt", time.monotonic()
        if kept.exists():
            state = torch.load(kept, weights_only=True)
            network.load_state_dict(state["learned"], strict=False)
            network.vision.beside.load_state_dict(network.vision.speaker.state_dict())
            return StageRecord.model_validate_json(state["record"])

        def each(step: int, loss: float) -> None:
            if step % _EVERY == 0:
                self.progress(f"speaker: step {step} of {self.recipe.sight.steps}, loss {loss:.3f}")

        losses = teach_speaker(network, torch.from_numpy(self.data.captions.vectors), self.recipe.sight, each)
        record = StageRecord(name="speaker", seconds=time.monotonic() - began, losses=tuple(losses))
        learned = {
            name: tensor
            for name, tensor in network.state_dict().items()
            if name.startswith(("vision.speaker.", "markers."))
        }
        torch.save({"learned": learned, "record": record.model_dump_json()}, kept)
        network.vision.beside.load_state_dict(network.vision.speaker.state_dict())
        return record

    def hearing(self, network: FusedNetwork) -> StageRecord:
        """Teach the hearing adapter through the trunk as it is; its own checkpoints make it resume."""
        began = time.monotonic()
        read = Reader(network, _tokenizer(), remember=False)
        vectors = read.all([(heard.text,) for heard in self.data.sounds])
        losses = teach_hearing(
            network,
            self.data.sounds,
            vectors,
            self.folder / "checkpoints/hearing",
            self.recipe.hearing,
            self.recipe.seed,
        )
        network.requires_grad_(True)
        self.progress(f"hearing: loss {losses[-1]:.3f}")
        return StageRecord(name="hearing", seconds=time.monotonic() - began, losses=tuple(losses))

    def tasks(self, seen: Sequence[Seen], folds: Sequence[int]) -> dict[str, Task[Item]]:
        """Every task that there is data for, without what validation looks at."""
        teacher = from_ingredients(FusedConfig()).to(self.device)
        teacher.projection.weight.data.copy_(rotation_of(self.data.captions.vectors).to(self.device))
        teach = Reader(teacher, _tokenizer(), remember=True)
        return joint_tasks(
            self.data,
            seen,
            _training_rows(folds),
            utterances(self.data, self.device),
            _UNSEEN,
            lambda texts: teach([(text,) for text in texts]),
        )

    def mix(self, network: FusedNetwork, seen: Sequence[Seen], folds: Sequence[int]) -> list[StageRecord]:
        """Teach what speaks a picture beside words, each time from where the last one ended."""
        data, records = self.data, []
        rows = _training_rows(folds)
        subjects = [(seen[i], data.pictures[i].name) for i in rows]
        for number, recipe in enumerate(self.recipe.mixing, 1):
            name, began = f"mixing-{number}", time.monotonic()
            kept = self.checkpoint(name).with_name(RECORD_FILE)
            if kept.exists():
                records.append(StageRecord.model_validate_json(kept.read_text(encoding="utf-8")))
                network.load_state_dict(load_file(self.checkpoint(name), device=str(self.device)))
                continue
            losses = teach_mixtures(
                Reader(network, _tokenizer(), remember=False),
                subjects,
                data.wishes[_UNSEEN:],
                recipe,
                partial(self._tell, name),
            )
            records.append(StageRecord(name=name, seconds=time.monotonic() - began, losses=tuple(losses)))
            self.keep(network, name)
            kept.write_text(records[-1].model_dump_json(), encoding="utf-8")
        return records

    def checkpoint(self, name: str) -> Path:
        """Where the weights lie that a stage ended with."""
        return self.folder / "checkpoints" / name / name / WEIGHTS_FILE

    def keep(self, network: FusedNetwork, name: str) -> None:
        """Write the whole network as a stage's checkpoint."""
        path = self.checkpoint(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.cpu().contiguous() for k, v in network.state_dict().items()}, path)

    def _tell(self, name: str, step: int, loss: float) -> None:
        if step % _EVERY == 0:
            self.progress(f"{name}: step {step}, loss {loss:.3f}")

    def project(
        self, network: FusedNetwork, seen: Sequence[Seen], folds: Sequence[int], validation: Validation
    ) -> dict[str, float]:
        """Learn the projection on what the network makes of training pairs; the scores that follow."""
        assert self.recipe.projection is not None
        rows = _training_rows(folds)
        read = Reader(network, _tokenizer(), remember=True)
        drawn = retrieval_pairs(self.data, seen, rows, _UNSEEN, self.recipe.projection.grids)
        start = network.projection.weight.detach().float().cpu()
        # Orthogonal rows: their transpose takes the projection off again.
        pairs = {
            name: (read.all(asked).float().cpu() @ start, read.all(answers).float().cpu() @ start)
            for name, (asked, answers) in drawn.items()
        }
        network.projection.weight.data.copy_(
            learn_projection(start, pairs, self.recipe.widths, self.recipe.projection)
        )
        return validation.scores(network, Reader(network, _tokenizer(), remember=True))

    def ask(self, network: FusedNetwork, recipe: AskingRecipe) -> StageRecord:
        """Teach the roles of a text and a question in it, on pages that validation does not ask."""
        began = time.monotonic()
        read = Reader(network, _tokenizer(), remember=False, text_tokens=WINDOW)
        pages = self.data.pages[_UNSEEN_PAGES:]
        wishes, tell = self.data.wishes[_UNSEEN:], partial(self._tell, "asking")
        losses = teach_roles(read, pages, wishes, self.recipe.widths, recipe, tell)
        return StageRecord(name="asking", seconds=time.monotonic() - began, losses=tuple(losses))

    def join(self, network: FusedNetwork, tasks: dict[str, Task[Item]]) -> list[StageRecord]:
        """Run the joint stages one after the other, each from where the last one ended."""
        records = []
        for number, stage in enumerate(self.recipe.stages):
            began = time.monotonic()
            trainer = self._trainer(network, stage, tasks, number)
            trainer.run([_frozen(network, stage)])
            self.progress(f"{stage.name}: loss {sum(trainer.losses[-10:]) / len(trainer.losses[-10:]):.3f}")
            records.append(
                StageRecord(
                    name=stage.name,
                    seconds=time.monotonic() - began,
                    losses=tuple(trainer.losses),
                    drawn=tuple(trainer.drawn),
                )
            )
        return records

    def _trainer(
        self, network: FusedNetwork, stage: JointStage, tasks: dict[str, Task[Item]], number: int
    ) -> Trainer[Item]:
        frozen_trunk = bool(stage.learning) and not any("trunk".startswith(p[:5]) for p in stage.learning)
        return Trainer(
            network.eval(),
            Reader(network, _tokenizer(), remember=frozen_trunk),
            tasks,
            self.recipe.widths,
            self.folder / "checkpoints" / stage.name,
            seed=self.recipe.seed + number,
            autocast=self.device.type if self.device.type == "cuda" else None,
        )

    def blend(
        self, network: FusedNetwork, validation: Validation
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Load the soup of all checkpoints into the network; its weights and every checkpoint's scores."""
        mixed_names = [f"mixing-{number}" for number in range(1, len(self.recipe.mixing) + 1)]
        names = [_SPEAKER, *mixed_names, *(stage.name for stage in self.recipe.stages)]
        states = [load_file(self.checkpoint(name), device=str(self.device)) for name in names]
        known: dict[int, dict[str, float]] = {}

        def score(state: State) -> dict[str, float]:
            if id(state) not in known:
                network.load_state_dict(dict(state))
                known[id(state)] = validation.scores(network, Reader(network, _tokenizer(), remember=True))
            return known[id(state)]

        scores = {name: score(state) for name, state in zip(names, states, strict=True)}
        mixtures: list[State] = []

        def mean(state: State) -> float:
            mixtures.append(state)  # Kept, so that no other state gets its id.
            return validation.mean(score(state))

        weights = greedy_soup(states, mean, self.recipe.soup)
        mixed = blend(states, weights)
        scores["soup"] = score(mixed)
        network.load_state_dict(mixed)
        self.progress(
            f"soup: {dict(zip(names, weights, strict=True))}, score {validation.mean(scores['soup']):.3f}"
        )
        return dict(zip(names, weights, strict=True)), scores


def _training_rows(folds: Sequence[int]) -> list[int]:
    return [i for i, number in enumerate(folds) if number != _VALIDATION_FOLD]


def _frozen(network: FusedNetwork, stage: JointStage) -> Stage:
    """The stage with the names of all that does not learn; word embeddings never do."""
    frozen = [
        name
        for name, _ in network.named_parameters()
        if name.startswith(("trunk.embeddings.", "vision.concepts."))
        or (stage.learning and not name.startswith(stage.learning))
    ]
    return Stage.model_validate({**stage.model_dump(exclude={"learning"}), "frozen": tuple(frozen)})


def _tokenizer() -> FastTokenizer:
    return FastTokenizer.from_folder(ingredients.TOKENIZER.path().parent)
