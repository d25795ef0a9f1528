"""Our split of EmbeddingGemma 2 into workers and actor gives the vectors of sentence-transformers' own `encode`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import Gemma4AudioFeatureExtractor

from operators.model.contract import Engine, ModelSpec
from operators.model.gemma_engine import GemmaEngine
from operators.model.gemma_towers import Mel
from operators.model.packed_attention import PADDED
from operators.model.registry import resolve
from operators.part_columns import from_arrow, to_arrow
from operators.parts import Part, PartKind
from tests.benchmarks.padded_gemma import PaddedGemma
from tests.models.reference_gemma import reference_model, reference_processor

RATE = 16_000
RNG = np.random.default_rng(7)
WIDE, SMALL, EXACT = (
    RNG.integers(0, 255, (h, w, 3), np.uint8) for h, w in ((100, 300), (64, 64), (384, 384))
)
SHORT, LONG = ((RNG.standard_normal(int(RATE * s)) * 3_000).astype(np.int16) for s in (1.3, 4.0))
FRAMES = RNG.integers(0, 255, (4, 90, 160, 3), np.uint8)


def text(value: str) -> Part:
    return Part(PartKind.TEXT, value)


def image(pixels: npt.NDArray[np.uint8]) -> Part:
    return Part(PartKind.IMAGE, data=pixels)


def sound(samples: npt.NDArray[np.int16], at_ms: int | None = 0) -> Part:
    return Part(PartKind.AUDIO, data=samples, at_ms=at_ms)


def film(*, heard: bool) -> tuple[Part, ...]:
    parts: list[Part] = []
    for second, frame in enumerate(FRAMES):
        parts.append(Part(PartKind.FRAME, data=frame, at_ms=second * 1_000))
        if heard:
            parts.append(sound(LONG[second * RATE : (second + 1) * RATE], second * 1_000))
    return tuple(parts)


def wave(samples: npt.NDArray[np.int16]) -> dict[str, Any]:
    return {"array": samples.astype(np.float32) / 32_768, "sampling_rate": RATE}


METADATA = {"fps": 1, "total_num_frames": 4, "duration": 4.0, "frames_indices": [0, 1, 2, 3]}
PICTURE = Image.fromarray(WIDE)
CASES: dict[str, tuple[tuple[Part, ...], Any]] = {
    "text": ((text("a cat, 猫 and a dog"),), "a cat, 猫 and a dog"),
    "wide image": ((image(WIDE),), PICTURE),
    "small image": ((image(SMALL),), Image.fromarray(SMALL)),
    "image of the model's size": ((image(EXACT),), Image.fromarray(EXACT)),
    "sound": ((sound(SHORT),), {"audio": wave(SHORT)}),
    "page": ((image(WIDE), text("a page")), {"image": [PICTURE], "text": "a page"}),
    "interleaved": (
        (text("a "), image(WIDE), text("b"), sound(SHORT), text(" cat"), image(SMALL)),
        {
            "text": "a <|image|>b<|audio|> cat<|image|>",
            "image": [PICTURE, Image.fromarray(SMALL)],
            "audio": wave(SHORT),
        },
    ),
    "silent film": (film(heard=False), {"video": {"array": FRAMES, "video_metadata": METADATA}}),
}


@pytest.fixture(scope="module")
def spec(tiny_gemma: Path) -> ModelSpec:
    return resolve(str(tiny_gemma))


@pytest.fixture(scope="module")
def engine(spec: ModelSpec) -> Engine:
    return spec.load("cpu")


@pytest.fixture(scope="module")
def reference(tiny_gemma: Path) -> SentenceTransformer:
    return reference_model(tiny_gemma)


def cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("role", ["document", "query"])
def test_vectors_are_those_of_sentence_transformers(
    spec: ModelSpec, engine: Engine, reference: SentenceTransformer, case: str, role: str
) -> None:
    parts, theirs = CASES[case]
    has_text = any(part.kind is PartKind.TEXT for part in parts)
    prepared, tokens = spec.preparer(role).prepare([parts])
    prompt = spec.card.prompt(role) if has_text else None
    assert cosine(engine.embed(prepared)[0], reference.encode([theirs], prompt=prompt)[0]) > 0.9999
    features = reference.preprocess([theirs], prompt=prompt)
    assert tokens == [int(features["attention_mask"].sum())]


def test_a_film_with_sound_is_laid_out_as_the_models_processor_does(
    spec: ModelSpec, engine: Engine, reference: SentenceTransformer, tiny_gemma: Path
) -> None:
    features = reference_processor(tiny_gemma)(
        text=["<|video|>"],
        videos=[FRAMES],
        audio=[wave(LONG)["array"]],
        audio_from_video_indices=[0],
        load_audio_from_video=True,
        videos_kwargs={"add_timestamps": True, "video_metadata": [METADATA]},
        return_tensors="pt",
    )
    prepared, _ = spec.preparer("document").prepare([film(heard=True)])
    assert prepared[0][0].array.tolist() == features["input_ids"][0].tolist()
    with torch.inference_mode():
        expected = reference({**features, "modality": "message"})["sentence_embedding"][0].numpy()
    assert cosine(engine.embed(prepared)[0], expected) > 0.9999


def test_a_mixed_batch_gives_each_input_its_own_vector_in_order(spec: ModelSpec, engine: Engine) -> None:
    inputs = [*(parts for parts, _ in CASES.values()), film(heard=True), (text("dog"),)]
    prepared, _ = spec.preparer("document").prepare(inputs)
    together = engine.embed(prepared)
    alone = np.concatenate([engine.embed([row]) for row in prepared])
    assert together.dtype == np.float32
    assert together.shape == (len(inputs), spec.card.dim)
    for a, b in zip(together, alone, strict=True):
        assert cosine(a, b) > 0.9999
    assert np.linalg.norm(together - np.roll(together, 1, axis=0), axis=1).min() > 0.05


MATES = {
    **{name: parts for name, (parts, _) in CASES.items()},
    "film": film(heard=True),
    "long text": (text("boat " * 60),),
    "long sound": (sound(np.tile(LONG, 2)),),
}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([*MATES]), min_size=2, max_size=7),
    st.sampled_from([64, 900, 4_096]),
    st.sampled_from([(0, 0.0), PADDED["cuda"], (500, 0.0)]),
)
def test_a_vector_depends_neither_on_batch_mates_nor_on_budget_and_padding(
    tiny_gemma: Path, names: list[str], budget: int, padded: tuple[int, float]
) -> None:
    prepared, alone = _alone(tiny_gemma)
    engine = GemmaEngine.read(tiny_gemma, "tiny", torch.device("cpu"), budget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PADDED, "cpu", padded)
        together = engine.embed([prepared[name] for name in names])
    for name, vector in zip(names, together, strict=True):
        assert cosine(vector, alone[name]) > 0.99999


@cache
def _alone(folder: Path) -> tuple[dict[str, tuple[Part, ...]], dict[str, npt.NDArray[np.float32]]]:
    spec = resolve(str(folder))
    rows, _ = spec.preparer("document").prepare(list(MATES.values()))
    engine = spec.load("cpu")
    vectors = {name: engine.embed([row])[0] for name, row in zip(MATES, rows, strict=True)}
    return dict(zip(MATES, rows, strict=True)), vectors


def test_a_mixed_batch_gives_the_vectors_of_the_padded_reference(tiny_gemma: Path) -> None:
    prepared, alone = _alone(tiny_gemma)
    padded = PaddedGemma(tiny_gemma, torch.device("cpu"), torch.float32, budget=4_096)
    for name, vector in zip(prepared, padded.embed(list(prepared.values())), strict=True):
        assert cosine(vector, alone[name]) > 0.9999


@pytest.mark.parametrize(
    "options",
    [{"preemphasis": 0.97}, {"preemphasis": 0.5, "preemphasis_htk_flavor": False}, {"fft_overdrive": True}],
)
def test_sound_features_are_those_of_the_models_extractor(options: dict[str, Any]) -> None:
    extractor = Gemma4AudioFeatureExtractor(
        input_scale_factor=0.5, per_bin_mean=[0.1] * 128, per_bin_stddev=[1.7] * 128, **options
    )
    theirs = extractor([wave(s)["array"] for s in (SHORT, LONG)], padding="longest", return_tensors="pt")
    waves = np.zeros((2, len(LONG)), np.int16)
    waves[0, : len(SHORT)], waves[1] = SHORT, LONG
    frames = theirs["input_features_mask"].sum(1)
    ours, heard = Mel(extractor, torch.device("cpu"))(torch.from_numpy(waves), frames)
    want = theirs["input_features"][:, : ours.shape[1]]
    assert heard.sum(1).tolist() == frames.tolist()
    torch.testing.assert_close(ours, want, atol=2e-3, rtol=1e-3)


def test_prepared_inputs_survive_the_object_store(spec: ModelSpec, engine: Engine) -> None:
    prepared, _ = spec.preparer("document").prepare([film(heard=True), CASES["page"][0]])
    kept = [[part.array.dtype for part in parts] for parts in prepared]
    assert kept == [[np.int32, *[np.uint8] * 4, np.int16], [np.int32, np.uint8]]
    np.testing.assert_array_equal(engine.embed(from_arrow(to_arrow(prepared))), engine.embed(prepared))
