from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from operators.model.digest import deciding_files, weights_digest
from schemas.errors import ExitCode, ModelError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    save_file({"w": np.arange(6, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    return folder


def test_copies_of_a_folder_have_one_digest(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(model, copy)
    assert weights_digest(copy) == weights_digest(model)


@pytest.mark.parametrize("changed", ["model.safetensors", "config.json", "1_Pooling/config.json"])
def test_one_changed_byte_in_a_deciding_file_changes_the_digest(model: Path, changed: str) -> None:
    before = weights_digest(model)
    data = bytearray((model / changed).read_bytes())
    data[-2] ^= 1
    (model / changed).write_bytes(data)
    assert weights_digest(model) != before


def test_a_renamed_file_changes_the_digest(model: Path) -> None:
    before = weights_digest(model)
    (model / "config.json").rename(model / "generation_config.json")
    assert weights_digest(model) != before


@pytest.mark.parametrize("extra", ["README.md", "embedlake.json", "onnx/config.json", ".cache/x", "a.png"])
def test_files_that_do_not_decide_vectors_do_not_count(model: Path, extra: str) -> None:
    before = weights_digest(model)
    (model / extra).parent.mkdir(exist_ok=True)
    (model / extra).write_text("{}")
    assert weights_digest(model) == before


def test_pickled_weights_are_refused_by_name(model: Path) -> None:
    (model / "2_Dense").mkdir()
    (model / "2_Dense" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin") as raised:
        weights_digest(model)
    assert raised.value.exit_code is ExitCode.MODEL


def test_a_pickle_beside_safetensors_is_ignored(model: Path) -> None:
    before = weights_digest(model)
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert weights_digest(model) == before
    assert all(p.suffix != ".bin" for p in deciding_files(model))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        weights_digest(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        weights_digest(tmp_path / "missing")
