"""The vision tower: a frozen EfficientNet-Lite2 (a classifier of 1,000 things), its normalisation folded away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from operators.model.device import hold_products_in, products_in

SIDE = 224
"""Pixels of a side."""
SEEN = 1280
"""What the classifier looks at."""
CLASSES = 1000
_STEM = 32
_EPS = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(3, 3, 2, 6, 24),
    _Stage(3, 5, 2, 6, 48),
    _Stage(4, 3, 2, 6, 88),
    _Stage(4, 5, 1, 6, 120),
    _Stage(5, 5, 2, 6, 208),
    _Stage(1, 3, 1, 6, 352),
)
"""EfficientNet-B0's stages, 1.1 times as wide and 1.2 times as deep (Tan and Le 2019; Lite: no squeeze, ReLU6)."""
_TEXTURES = ((5,), (3, 4))
"""Stages whose channels' mean and spread tell drawings apart, which the classifier of photographs does not."""
GROUPS = (SEEN, *(2 * sum(_STAGES[i].channels for i in group) for group in _TEXTURES))
"""Widths of the parts of a picture's features."""
FEATURES = sum(GROUPS)
_ENDS = {sum(s.repeats for s in _STAGES[: i + 1]) - 1: i for group in _TEXTURES for i in group}
"""The last block of each of these stages."""
_EXACT = 3
"""The first blocks calculate in float32: what is rounded there changes all behind it."""


class _SameConv(nn.Conv2d):
    """TensorFlow's `same` padding, which is uneven where the stride does not divide the side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for side, kernel, stride in zip(reversed(x.shape[2:]), self.kernel_size, self.stride, strict=True):
            missing = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(nn.functional.pad(x, pads) if any(pads) else x)


class _Block(nn.Module):
    """Widen, look at the neighbourhood, narrow; add the input where the shape stayed."""

    def __init__(self, before: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = before * stage.expand
        self.adds = stride == 1 and before == stage.channels
        self.expand = _SameConv(before, wide, 1) if stage.expand > 1 else None
        self.depthwise = _SameConv(wide, wide, stage.kernel, stride, groups=wide)
        self.project = _SameConv(wide, stage.channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if self.expand is None else nn.functional.relu6(self.expand(x), inplace=True)
        out: torch.Tensor = self.project(nn.functional.relu6(self.depthwise(wide), inplace=True))
        return out + x if self.adds else out


class VisionTower(nn.Module):
    """Pixels to the feature map that the classifier averages, and the classifier itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, _STEM, 3, 2)
        blocks: list[_Block] = []
        before = _STEM
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                blocks.append(_Block(before, stage, 1 if repeat else stage.stride))
                before = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _SameConv(before, SEEN, 1)
        self.classifier = nn.Linear(SEEN, CLASSES)
        self.dtype = torch.float32

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Make the products of all but the first layers in a type."""
        self.dtype = dtype
        hold_products_in(dtype, *list(self.blocks)[_EXACT:], self.head)

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of uint8 pixels `[images, side, side, 3]` on any device.

        Returns:
            float32 `[images, FEATURES]`: what the classifier averages over the picture, then each texture group's
            channel means and standard deviations, stage by stage.
        """
        x = pixels.to(self.stem.weight.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = nn.functional.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for block in list(self.blocks)[:_EXACT]:
            x = block(x)
        with products_in(self.dtype, x.device):
            return self._features(x)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Of what the exact blocks give."""
        textures: dict[int, torch.Tensor] = {}
        for i, block in enumerate(list(self.blocks)[_EXACT:], _EXACT):
            x = block(x)
            if i in _ENDS:
                whole = x.float()
                textures[_ENDS[i]] = torch.cat([whole.mean((2, 3)), whole.std((2, 3))], 1)
        seen = nn.functional.relu6(self.head(x)).float().mean((2, 3))
        return torch.cat([seen, *(textures[stage] for group in _TEXTURES for stage in group)], 1)


def load_tower(checkpoint: Path) -> VisionTower:
    """The tower with the weights of a checkpoint of EfficientNet-PyTorch's names; the file must be verified."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tower = VisionTower()
    with torch.no_grad():
        for layer, conv, norm in _pairs(tower):
            scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPS).sqrt()
            layer.weight.copy_(state[f"{conv}.weight"] * scale[:, None, None, None])
            assert layer.bias is not None
            layer.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
        tower.classifier.weight.copy_(state["_fc.weight"])
        tower.classifier.bias.copy_(state["_fc.bias"])
    for layer, _, _ in _pairs(tower):
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return tower.eval().requires_grad_(False)


def _pairs(tower: VisionTower) -> Iterator[tuple[nn.Conv2d, str, str]]:
    """Each convolution with the checkpoint's names of it and of its batch normalisation."""
    yield tower.stem, "_conv_stem", "_bn0"
    for i, block in enumerate(tower.blocks):
        assert isinstance(block, _Block)
        if block.expand is not None:
            yield block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
        yield block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
        yield block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"
    yield tower.head, "_conv_head", "_bn1"
