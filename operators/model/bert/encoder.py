"""A BERT encoder under the names of its checkpoint, over embedded rows of any kind (Devlin et al. 2018)."""

from __future__ import annotations

import torch
from torch import nn

from operators.model.bert.shape import Shape
from operators.model.device import hold_products_in, packs
from operators.model.onednn import Linear, PackedLinear, pack_layers
from operators.model.unfilled import Unfilled


class _Embeddings(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, shape.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        placed = x + (self.position_embeddings.weight[: x.shape[1]] + self.token_type_embeddings.weight[0])
        normed: torch.Tensor = self.LayerNorm(placed)
        return normed


class _Attention(nn.Module):
    """Queries, keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query, self.key, self.value = (Linear(shape.hidden, shape.hidden) for _ in range(3))
        self.packed: PackedLinear | None = None

    def pack(self, dtype: torch.dtype) -> None:
        """Pack the three as one."""
        parts = (self.query, self.key, self.value)
        with Unfilled():
            whole = Linear(parts[0].in_features, sum(part.out_features for part in parts))
        whole.weight.data = torch.cat([part.weight.data for part in parts])
        whole.bias.data = torch.cat([part.bias.data for part in parts])
        self.packed = PackedLinear(whole, dtype)
        del self.query, self.key, self.value

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.packed is None:
            made = [one(x) for one in (self.query, self.key, self.value)]
        else:
            made = list(self.packed(x).chunk(3, 2))
        query, key, value = (one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in made)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, mask)
        return seen.transpose(1, 2).reshape(x.shape)


class _Joined(nn.Module):
    """What is found comes back to the width of the encoder, and is added to what it was found in."""

    def __init__(self, before: int, shape: Shape) -> None:
        super().__init__()
        self.dense = Linear(before, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, shape.eps)

    def forward(self, found: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.LayerNorm(x + self.dense(found))
        return normed


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        seeing, wide = {"self": _Attention(shape)}, Linear(shape.hidden, shape.intermediate, gelu=True)
        self.attention = nn.ModuleDict({**seeing, "output": _Joined(shape.hidden, shape)})
        self.intermediate = nn.ModuleDict({"dense": wide})
        self.output = _Joined(shape.intermediate, shape)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        joined: torch.Tensor = self.output(self.intermediate["dense"](x), x)
        return joined


class Encoder(nn.Module):
    """Attention in both directions over all tokens of a row, layer by layer; without dropout."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*(_Layer(shape) for _ in range(shape.layers)))})
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Hold the weights of its products in a type, packed where the device has that; it trains no more."""
        if not packs(self.embeddings.LayerNorm.weight.device, dtype):
            hold_products_in(dtype, self)
            return
        for attention in [module for module in self.modules() if isinstance(module, _Attention)]:
            attention.pack(dtype)
        pack_layers(self, dtype)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """States of embedded rows.

        Args:
            x: `[rows, tokens, hidden]`.
            mask: which tokens are a row's own, bool `[rows, 1, 1, tokens]`; all when None.

        Returns:
            `[rows, tokens, hidden]`; of tokens that are not a row's own whatever comes.
        """
        x = self.embeddings(x)
        for layer in self.encoder["layer"].children():
            x = layer(x, mask)
        return x
