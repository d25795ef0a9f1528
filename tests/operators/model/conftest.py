"""Tiny models, built once per session, and the shipped fused one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from operators.model.fused.engine import FusedEngine
from operators.model.fused.spec import FusedSpec
from operators.model.registry import FUSED_MODEL, resolve
from tests.models.tiny_gemma import build_tiny_gemma
from tests.models.tiny_text import PROMPTS, build_tiny_text

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_text(tmp_path_factory.mktemp("text") / "tiny-text", prompts=PROMPTS)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_gemma(tmp_path_factory.mktemp("gemma") / "tiny-gemma")


@pytest.fixture(scope="module")
def fused_spec() -> FusedSpec:
    found = resolve(FUSED_MODEL)
    assert isinstance(found, FusedSpec)
    return found


@pytest.fixture(scope="module")
def fused_engine(fused_spec: FusedSpec) -> FusedEngine:
    return fused_spec.load("cpu", threads=2)
