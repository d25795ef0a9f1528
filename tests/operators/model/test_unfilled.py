"""Modules without random weights, as long as that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from operators.model.unfilled import Unfilled


def test_nothing_is_filled_until_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[torch.Tensor] = []
    monkeypatch.setattr(torch.nn.init, "_no_grad_normal_", lambda tensor, *_: filled.append(tensor))
    with Unfilled():
        bare = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))
        ones = torch.ones(2)
    assert not filled
    assert ones.equal(torch.tensor([1.0, 1.0])), "everything else runs"
    whole = {"0.weight": torch.ones(4, 3), "1.weight": torch.ones(2, 3), "1.bias": torch.zeros(2)}
    bare.load_state_dict(whole, assign=True)
    assert bare(torch.tensor([1])).tolist() == [[3.0, 3.0]]
    nn.Embedding(4, 3)
    assert filled
