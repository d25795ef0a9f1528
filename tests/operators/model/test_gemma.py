"""EmbeddingGemma 2's known traps, each with the input that springs it."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from operators.decode.image import target_size
from operators.model.contract import Engine, ModelSpec
from operators.model.device import weights_dtype
from operators.model.gemma_engine import GemmaEngine
from operators.model.gemma_inputs import GemmaLayout, GemmaPreparer
from operators.model.registry import resolve
from operators.parts import Part, PartKind
from schemas.card import ImageInput, Modality
from schemas.errors import AssetError, ErrorCode, ModelError, Stage
from tests.models.tiny_gemma import DIM, MARKERS

RATE = 16_000
RNG = np.random.default_rng(3)
PICTURE = Part(PartKind.IMAGE, data=RNG.integers(0, 255, (384, 384, 3), np.uint8))


def text(value: str) -> Part:
    return Part(PartKind.TEXT, value)


def sound(seconds: float) -> Part:
    return Part(PartKind.AUDIO, data=(RNG.standard_normal(int(RATE * seconds)) * 3_000).astype(np.int16))


def frame(at_ms: int) -> Part:
    return Part(PartKind.FRAME, data=RNG.integers(0, 255, (90, 160, 3), np.uint8), at_ms=at_ms)


@pytest.fixture(scope="module")
def spec(tiny_gemma: Path) -> ModelSpec:
    return resolve(str(tiny_gemma))


@pytest.fixture(scope="module")
def engine(spec: ModelSpec) -> Engine:
    return spec.load("cpu")


@pytest.fixture(scope="module")
def layout(tiny_gemma: Path) -> GemmaLayout:
    return GemmaLayout.read(tiny_gemma)


@pytest.fixture
def copy(tiny_gemma: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_gemma, tmp_path / "copy")


def ids(spec: ModelSpec, *parts: Part, role: str = "document") -> list[int]:
    prepared, _ = spec.preparer(role).prepare([parts])
    return prepared[0][0].array.tolist()


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_sound_beyond_30_seconds_is_heard_to_its_end(
    spec: ModelSpec, engine: Engine, layout: GemmaLayout
) -> None:
    whole = sound(40)
    head = Part(PartKind.AUDIO, data=whole.array[: 30 * RATE])
    prepared, _ = spec.preparer("document").prepare([(whole,), (head,)])
    slots = [int((parts[0].array == layout.sound).sum()) for parts in prepared]
    assert slots == [1_000, 750]
    long, short = engine.embed(prepared)
    assert np.linalg.norm(long - short) > 1e-3


def test_a_tokenizer_saved_with_padding_and_truncation_changes_no_vector(
    spec: ModelSpec, engine: Engine, copy: Path
) -> None:
    path = str(copy / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_padding(length=64, pad_id=0)
    tokenizer.enable_truncation(16)
    tokenizer.save(path)
    inputs = [(sound(2),), (text("cat " * 40),), (PICTURE, text("a page"))]
    ours, tokens = spec.preparer("document").prepare(inputs)
    theirs, poisoned = resolve(str(copy)).preparer("document").prepare(inputs)
    assert poisoned == tokens
    np.testing.assert_array_equal(engine.embed(theirs), engine.embed(ours))


@pytest.mark.parametrize(
    "parts",
    [(text("a" * 8_200),), (PICTURE,) * 130, tuple(frame(i * 1_000) for i in range(140)), (sound(340),)],
    ids=["text", "images", "frames", "sound"],
)
def test_over_8192_tokens_is_the_assets_fault_and_never_a_cut(
    spec: ModelSpec, parts: tuple[Part, ...]
) -> None:
    with pytest.raises(AssetError, match="takes 8192") as raised:
        spec.preparer("document").prepare([parts])
    assert (raised.value.code, raised.value.stage) == (ErrorCode.LIMIT, Stage.PREPARE)


def test_a_chunk_of_the_cards_text_tokens_fits_with_every_prompt(spec: ModelSpec) -> None:
    for role in spec.card.prompts:
        spec.preparer(role).prepare([(text("a" * spec.card.limits.text_tokens),)])


@pytest.mark.parametrize("special", [True, False])
def test_literal_markers_in_a_corpus_are_plain_text(
    copy: Path, engine: Engine, layout: GemmaLayout, special: bool
) -> None:
    path = copy / "tokenizer.json"
    saved = json.loads(path.read_text())
    for token in saved["added_tokens"]:
        token["special"] = special
    path.write_text(json.dumps(saved))
    spec = resolve(str(copy))
    hostile = " ".join([*MARKERS.values(), "<bos>", "<eos>", "<pad>"])
    sequence = ids(spec, text(hostile), PICTURE, text("<|image|>"))
    slots = (layout.image, layout.frame, layout.sound)
    assert [sequence.count(slot) for slot in slots] == [64, 0, 0]
    assert (sequence.count(1), sequence.count(2), sequence.count(0)) == (1, 1, 0)
    prepared, _ = spec.preparer("document").prepare([(text(hostile), PICTURE, text("<|image|>"))])
    assert np.isfinite(engine.embed(prepared)).all()


@pytest.mark.parametrize(
    "times", [(0,), (0, 250, 500, 750), (0, 9_000, 21_000), tuple(range(0, 40_000, 1_000))]
)
def test_every_frame_is_taken_whatever_its_time(
    spec: ModelSpec, layout: GemmaLayout, times: tuple[int, ...]
) -> None:
    sequence = ids(spec, *(frame(at) for at in times))
    assert sequence.count(layout.image_start) == len(times)


@pytest.mark.parametrize(
    "times", [(0,), (0, 500, 1_000), (0, 1_000, 2_000), (0, 2_500, 5_000), (1_000, 2_000)]
)
def test_every_sound_slot_of_a_film_is_filled(
    spec: ModelSpec, engine: Engine, layout: GemmaLayout, times: tuple[int, ...]
) -> None:
    lengths = (0.3, 2.7, 3.0, 7.5)
    pictures = [frame(at) for at in times]
    prepared, _ = spec.preparer("document").prepare([(*pictures, sound(s)) for s in lengths])
    slots = [int((parts[0].array == layout.sound).sum()) for parts in prepared]
    assert slots == [layout.sound_tokens(int(s * RATE)) for s in lengths]
    assert np.isfinite(engine.embed(prepared)).all()


def test_the_prompt_goes_before_the_first_text_once(spec: ModelSpec) -> None:
    counter = spec.preparer("query").counter
    prompt = counter.ids("task: search result | query: ").tolist()  # type: ignore[attr-defined]

    def times(sequence: list[int]) -> int:
        size = len(prompt)
        return sum(sequence[i : i + size] == prompt for i in range(len(sequence)))

    assert times(ids(spec, text("cat"), PICTURE, text("dog"), role="query")) == 1
    assert times(ids(spec, PICTURE, text("dog"), role="query")) == 1
    assert times(ids(spec, PICTURE, role="query")) == 0
    assert times(ids(spec, text("cat"), role="no-such-task")) == 0


def test_order_of_the_parts_is_kept(spec: ModelSpec, engine: Engine, layout: GemmaLayout) -> None:
    first, last = ids(spec, PICTURE, text("cat")), ids(spec, text("cat"), PICTURE)
    assert first[1] == layout.image_start
    assert last[-2] == layout.image_end
    prepared, _ = spec.preparer("document").prepare([(PICTURE, text("cat")), (text("cat"), PICTURE)])
    assert np.linalg.norm(np.subtract(*engine.embed(prepared))) > 1e-3


def test_vectors_have_the_full_width_and_unit_length(spec: ModelSpec, engine: Engine) -> None:
    prepared, _ = spec.preparer("document").prepare([(text("cat"),), (PICTURE,)])
    vectors = engine.embed(prepared)
    assert vectors.shape == (2, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_weights_are_never_float16(copy: Path) -> None:
    import torch

    edit(copy / "config.json", dtype="float16")
    engine = resolve(str(copy)).load("cpu")
    assert isinstance(engine, GemmaEngine)
    assert {weight.dtype for weight in engine.model.parameters()} == {torch.float32}
    assert weights_dtype(torch.device("cpu")) is torch.float32


def test_bfloat16_vectors_are_finite_for_every_modality(spec: ModelSpec) -> None:
    import torch

    engine = spec.load("cpu")
    assert isinstance(engine, GemmaEngine)
    engine.model.to(torch.bfloat16)
    prepared, _ = spec.preparer("document").prepare(
        [(text("cat"),), (PICTURE,), (sound(1),), (frame(0), sound(1))]
    )
    vectors = engine.embed(prepared)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("tower", "left", "lost"),
    [
        ("vision_config", (Modality.TEXT, Modality.AUDIO), PICTURE),
        ("vision_config", (Modality.TEXT, Modality.AUDIO), frame(0)),
        (
            "audio_config",
            (Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.PAGE, Modality.DOCUMENT),
            sound(1),
        ),
    ],
)
def test_a_model_without_a_tower_says_so(
    copy: Path, tower: str, left: tuple[Modality, ...], lost: Part
) -> None:
    edit(copy / "config.json", **{tower: None})
    spec = resolve(str(copy))
    assert spec.card.modalities == left
    with pytest.raises(AssetError, match="without") as raised:
        spec.preparer("document").prepare([(text("cat"), lost)])
    assert raised.value.code is ErrorCode.MODALITY
    prepared, _ = spec.preparer("document").prepare([(text("cat"),)])
    assert spec.load("cpu").embed(prepared).shape == (1, DIM)


@pytest.mark.parametrize("parts", [(), (text("  "),), (Part(PartKind.AUDIO, data=np.zeros(99, np.int16)),)])
def test_nothing_to_embed_is_the_assets_fault(spec: ModelSpec, parts: tuple[Part, ...]) -> None:
    with pytest.raises(AssetError) as raised:
        spec.preparer("document").prepare([parts])
    assert raised.value.code is ErrorCode.EMPTY


def test_the_card_of_the_released_processor(copy: Path) -> None:
    processor = json.loads((copy / "processor_config.json").read_text())
    processor["image_processor"]["max_soft_tokens"] = 280
    processor["video_processor"]["max_soft_tokens"] = 140
    edit(copy / "processor_config.json", **processor)
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    card = resolve(str(copy)).card
    assert card.image == ImageInput(fit="contain", side=803, multiple=48)
    assert card.frame == ImageInput(fit="contain", side=567, multiple=48)
    assert (card.token_costs.image, card.token_costs.frame) == (282, 142)
    assert (card.limits.tokens, card.limits.images) == (8_192, 28)
    assert card.limits.audio_ms == 30_000
    assert card.license == "apache-2.0"
    assert card.prompts["query"] == "task: search result | query: "


def test_matryoshka_widths_of_the_family_are_those_below_its_dim(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["embedding_dim"] = 768
    edit(copy / "config.json", **config)
    assert resolve(str(copy)).card.widths == (768, 512, 256, 128)


@given(st.integers(1, 4_000), st.integers(1, 4_000))
def test_pictures_that_a_decoder_made_for_the_card_are_not_resized_again(
    tiny_gemma: Path, width: int, height: int
) -> None:
    preparer = _preparer(tiny_gemma)
    want = preparer.card.image
    assert want is not None
    columns, rows = target_size(width, height, want)
    part = Part(PartKind.IMAGE, data=np.zeros((rows, columns, 3), np.uint8))
    ((_, kept),) = preparer.prepare([(part,)])[0]
    assert kept is part


_PREPARERS: dict[Path, GemmaPreparer] = {}


def _preparer(folder: Path) -> GemmaPreparer:
    if folder not in _PREPARERS:
        preparer = resolve(str(folder)).preparer("document")
        assert isinstance(preparer, GemmaPreparer)
        _PREPARERS[folder] = preparer
    return _PREPARERS[folder]


def test_spec_and_preparer_survive_pickling(spec: ModelSpec) -> None:
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    preparer = pickle.loads(pickle.dumps(spec.preparer("query")))
    prepared, _ = preparer.prepare([(text("cat <|image|>"), PICTURE)])
    assert prepared[0][0].array.tolist() == ids(spec, text("cat <|image|>"), PICTURE, role="query")


def test_a_config_without_markers_is_refused(copy: Path) -> None:
    edit(copy / "config.json", boa_token_id=None)
    with pytest.raises(ModelError, match="lacks a marker"):
        resolve(str(copy))
