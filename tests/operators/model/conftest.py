"""Tiny models, built once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.tiny_gemma import build_tiny_gemma
from tests.models.tiny_text import build_tiny_text

torch.set_num_threads(1)
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_text(tmp_path_factory.mktemp("text") / "tiny-text", prompts=PROMPTS)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_gemma(tmp_path_factory.mktemp("gemma") / "tiny-gemma")
