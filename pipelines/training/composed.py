"""Make the composed model's trained file from packages by name, and score it on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from operators.model.bert.text import BertText
from operators.model.composed import ingredients
from operators.model.composed.heads import ImageHead, load_heads, reduce, save_heads
from operators.model.tokens import FastTokenizer
from pipelines.evaluation.baselines import knn_transfer
from pipelines.evaluation.retrieval import Result, evaluate
from pipelines.training.data.features import image_features
from pipelines.training.data.pictures import Picture, clip_art, fluent_emoji, noto_emoji, stamps
from pipelines.training.data.splits import split
from pipelines.training.heads import Captions, HeadRecipe, Vectors, fit_head, rotation_of, whitening

Embed = Callable[[Vectors], Vectors]


class PictureSets:
    """Training pictures and the held-out sets, each with features, and the texts of all of them."""

    def __init__(self, work: Path) -> None:
        self.train, test = split([*clip_art(work), *fluent_emoji(work), *noto_emoji(work)])
        features = work / "features"
        self.features = image_features(self.train, features / "train.npy")
        test_features = image_features(test, features / "test.npy")
        self.tests: dict[str, tuple[list[Picture], Vectors]] = {}
        for source in ("fluent", "clipart"):
            rows = [i for i, p in enumerate(test) if p.source == source]
            self.tests[source] = ([test[i] for i in rows], test_features[rows])
        unseen = list(stamps(work))
        self.tests["tuxpaint"] = (unseen, image_features(unseen, features / "tuxpaint.npy"))
        every = [*self.train, *test, *unseen]
        self.texts = sorted({caption for p in every for caption in p.captions})
        self.vectors = embed_texts(self.texts)
        self._rows = {text: row for row, text in enumerate(self.texts)}

    def captions(self) -> Captions:
        """The captions of the training pictures."""
        return Captions(self.vectors, [[self._rows[c] for c in p.captions] for p in self.train])

    def names(self, pictures: Sequence[Picture]) -> tuple[Vectors, list[set[int]]]:
        """Vectors of the distinct names, and the pictures that bear each."""
        bearers: dict[str, set[int]] = {}
        for i, picture in enumerate(pictures):
            bearers.setdefault(picture.name, set()).add(i)
        return self.vectors[[self._rows[name] for name in bearers]], list(bearers.values())


def train_composed(work: Path, out: Path, recipe: HeadRecipe) -> dict[tuple[str, str, int], Result]:
    """Fit the head and the rotation, write them to `out`, and score the written file.

    Args:
        work: folder for packages and features; what lies there is not made again.
        out: the safetensors file.
        recipe: sizes of the head.

    Returns:
        Text-to-picture scores by model (`composed` or the baseline `knn`), set and width.
    """
    sets = PictureSets(work)
    captions = sets.captions()
    used = sorted({row for rows in captions.rows for row in rows})
    out.parent.mkdir(parents=True, exist_ok=True)
    save_heads(out, fit_head(sets.features, captions, recipe), rotation_of(sets.vectors[used]))
    head, rotation = load_heads(out)
    turn = rotation.numpy()
    dim = turn.shape[0]
    results: dict[tuple[str, str, int], Result] = {}
    mean, basis = whitening(torch.from_numpy(sets.features), recipe)
    baseline = knn_transfer(
        sets.features, captions.targets().numpy(), lambda x: reduce(torch.from_numpy(x), mean, basis).numpy()
    )
    for name, (pictures, features) in sets.tests.items():
        queries, relevant = sets.names(pictures)
        results["knn", name, dim] = evaluate(queries, baseline(features), relevant)
        gallery = embed_features(head, features) @ turn.T
        for width in (dim, 256, 128, 64):
            cut = evaluate((queries @ turn.T)[:, :width], gallery[:, :width], relevant)
            results["composed", name, width] = cut
    return results


def embed_texts(texts: Sequence[str]) -> Vectors:
    """Unit vectors of texts in the text tower's own axes: float32 `[texts, 384]`."""
    folder = ingredients.TEXT.verified().parent
    tokenizer = FastTokenizer.from_folder(folder)
    rows = [np.concatenate([tokenizer.prefix, tokenizer.ids(t), tokenizer.suffix]) for t in texts]
    tower = BertText.load(folder, ingredients.TEXT_SHAPE, torch.device("cpu"), torch.float32)
    return tower.read(rows)


def embed_features(head: ImageHead, features: Vectors) -> Vectors:
    """Unit vectors of picture features, before the rotation: float32 `[pictures, 384]`."""
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(features)).numpy(), np.float32)
