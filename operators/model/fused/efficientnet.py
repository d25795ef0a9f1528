"""The vision tower: a frozen EfficientNet-Lite2 (a classifier of 1,000 things), its normalisation folded away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from operators.model.device import hold_products_in, packs, products_in
from operators.model.unfilled import Unfilled

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
_HALVES = 2
"""The stride of what halves a map."""
_MULTIPLE: int = _HALVES ** (1 + sum(stage.stride == _HALVES for stage in _STAGES))
"""Of pixels: what is halved so often."""
_EXACT = 3
"""The first blocks calculate in float32: what is rounded there changes all behind it."""
_AT_ONCE = 2
"""Pictures that these see at once on a CPU: their maps are the widest, and more do not fit its cache."""


class _Conv(nn.Module):
    """TensorFlow's `same` convolution of maps with even sides, and ReLU6 behind it where it `bends`.

    At stride 2 that pads one more behind than before: a kernel with a row and a column of zeros before it does the
    same with even padding, and no copy of the map.
    """

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, *, bends: bool = True
    ) -> None:
        super().__init__()
        self.bends = bends
        uneven = stride == _HALVES
        self.conv = nn.Conv2d(before, after, kernel + uneven, stride, kernel // 2, groups=groups)

    def take(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """A kernel of `same` padding `[after, before, kernel, kernel]`, and its bias `[after]`."""
        if self.conv.stride == (_HALVES, _HALVES):
            weight = nn.functional.pad(weight, (1, 0, 1, 0))
        self.conv.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.conv.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[images, before, side, side]` to `[images, after, side / stride, side / stride]`."""
        out: torch.Tensor = self.conv(x)
        return nn.functional.relu6(out, inplace=True) if self.bends else out


class _PackedConv(nn.Module):
    """A convolution packed for a CPU, for good: oneDNN bends what it has in its cache, and reorders no weights."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(layer, _Conv)
        conv = layer.conv
        self.dtype = dtype
        self.bias = None if conv.bias is None else conv.bias.data.to(dtype)
        self.where = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.data.to(dtype), *self.where)
        self.bends = ("hardtanh", [0.0, 6.0]) if layer.bends else ("none", [])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the layer's, in the type of the products."""
        found: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.to(self.dtype), self.packed, self.bias, *self.where, *self.bends, ""
        )
        return found


class _Block(nn.Module):
    """Widen, look at the neighbourhood, narrow; add the input where the shape stayed."""

    def __init__(self, before: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = before * stage.expand
        self.adds = stride == 1 and before == stage.channels
        self.expand = _Conv(before, wide, 1) if stage.expand > 1 else None
        self.depthwise = _Conv(wide, wide, stage.kernel, stride, groups=wide)
        self.project = _Conv(wide, stage.channels, 1, bends=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return out + x if self.adds else out


class VisionTower(nn.Module):
    """Pixels to the feature map that the classifier averages, and the classifier itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem: _Conv | _PackedConv = _Conv(3, _STEM, 3, _HALVES)
        blocks: list[_Block] = []
        before = _STEM
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                blocks.append(_Block(before, stage, 1 if repeat else stage.stride))
                before = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head: _Conv | _PackedConv = _Conv(before, SEEN, 1)
        self.classifier = nn.Linear(SEEN, CLASSES)
        self.dtype = torch.float32

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Make the products of all but the first layers in a type; it cannot be trained any more."""
        self.dtype = dtype
        if not packs(self.classifier.weight.device, dtype):
            hold_products_in(dtype, *list(self.blocks)[_EXACT:], self.head)
            return
        self.stem, self.head = _PackedConv(self.stem, torch.float32), _PackedConv(self.head, dtype)
        for i, block in enumerate(self.blocks):
            for name, layer in list(block.named_children()):
                setattr(block, name, _PackedConv(layer, torch.float32 if i < _EXACT else dtype))

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of uint8 pixels `[images, side, side, 3]` on any device.

        Returns:
            float32 `[images, FEATURES]`: what the classifier averages over the picture, then each texture group's
            channel means and standard deviations, stage by stage.

        Raises:
            ValueError: a side that the tower cannot halve as often as it does.
        """
        _, height, width, _ = pixels.shape
        if height % _MULTIPLE or width % _MULTIPLE:
            raise ValueError(f"pictures of {width} x {height} pixels, not a multiple of {_MULTIPLE}")
        pixels = pixels.to(self.classifier.weight.device)
        at_once = _AT_ONCE if pixels.device.type == "cpu" else len(pixels)
        x = torch.cat([self._exact(part) for part in torch.split(pixels, at_once)])
        with products_in(self.dtype, x.device):
            return self._features(x)

    def _exact(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        seen: torch.Tensor = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in list(self.blocks)[:_EXACT]:
            seen = block(seen)
        return seen

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Of what the exact blocks give."""
        textures: dict[int, torch.Tensor] = {}
        for i, block in enumerate(list(self.blocks)[_EXACT:], _EXACT):
            x = block(x)
            if i in _ENDS:
                whole = x.float()
                textures[_ENDS[i]] = torch.cat([whole.mean((2, 3)), whole.std((2, 3))], 1)
        seen = self.head(x).float().mean((2, 3))
        return torch.cat([seen, *(textures[stage] for group in _TEXTURES for stage in group)], 1)


def classifier_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint the classifier alone; the file must be verified."""
    return _classifier(torch.load(checkpoint, map_location="cpu", weights_only=True))


def _classifier(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: state[f"_fc.{name}"] for name in ("weight", "bias")}


def load_tower(checkpoint: Path) -> VisionTower:
    """The tower with the weights of a checkpoint of EfficientNet-PyTorch's names; the file must be verified."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    with Unfilled():
        tower = VisionTower()
    for layer, conv, norm in _pairs(tower):
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPS).sqrt()
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        layer.take(state[f"{conv}.weight"] * scale[:, None, None, None], bias)
    tower.classifier.load_state_dict(_classifier(state), assign=True)
    return tower.eval().requires_grad_(False)


def _pairs(tower: VisionTower) -> Iterator[tuple[_Conv, str, str]]:
    """Each convolution with the checkpoint's names of it and of its batch normalisation."""
    assert isinstance(tower.stem, _Conv)
    assert isinstance(tower.head, _Conv)
    yield tower.stem, "_conv_stem", "_bn0"
    for i, block in enumerate(tower.blocks):
        assert isinstance(block, _Block)
        if block.expand is not None:
            yield block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
        yield block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
        yield block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"
    yield tower.head, "_conv_head", "_bn1"
