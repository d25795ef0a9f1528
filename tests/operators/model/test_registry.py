from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from operators.model.registry import DEFAULT_MODEL, FAMILIES, SHIPPED, resolve
from operators.model.sentence_transformer import SentenceTransformerSpec
from schemas.errors import ExitCode, ModelError

ROOT = Path(__file__).parents[3]


def run(code: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_importing_the_registry_loads_no_engine() -> None:
    heavy = "('torch', 'transformers', 'ray', 'numpy')"
    code = f"import sys, operators.model.registry; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_a_spec_and_its_card_load_no_weights(tiny_text: Path) -> None:
    code = (
        "import sys; from operators.model.registry import resolve; "
        f"spec = resolve({str(tiny_text)!r}); spec.preparer('query'); "
        "print(spec.card.dim, 'torch' in sys.modules)"
    )
    assert run(code) == "32 False"


def test_a_sentence_transformers_folder_is_recognised(tiny_text: Path) -> None:
    assert isinstance(resolve(str(tiny_text)), SentenceTransformerSpec)


def test_the_default_model_ships() -> None:
    assert DEFAULT_MODEL in SHIPPED
    assert set(SHIPPED.values()) <= set(FAMILIES)


@pytest.mark.parametrize(
    "missing", ["./no/such/folder", "/no/such/folder", "nothing", "~/models/x", "s3://a/b"]
)
def test_a_missing_folder_is_one_clear_line(missing: str) -> None:
    with pytest.raises(ModelError) as raised:
        resolve(missing)
    assert str(raised.value) == f"model folder '{missing}' does not exist"
    assert raised.value.exit_code is ExitCode.MODEL


def test_an_offline_hub_id_says_so_in_one_line(tmp_path: Path) -> None:
    code = (
        "from operators.model.registry import resolve\n"
        "from schemas.errors import ModelError\n"
        "try: resolve('google/embeddinggemma-2')\n"
        "except ModelError as error: print(error)"
    )
    line = run(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert "'google/embeddinggemma-2' is not in the local cache and HF_HUB_OFFLINE is set" in line
    assert "\n" not in line


def test_an_unreachable_hub_says_so_in_one_line(tmp_path: Path) -> None:
    code = (
        "from operators.model.registry import resolve\n"
        "from schemas.errors import ModelError\n"
        "try: resolve('google/embeddinggemma-2')\n"
        "except ModelError as error: print(error)"
    )
    line = run(code, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert line.startswith("model 'google/embeddinggemma-2'")
    assert "\n" not in line


def test_a_folder_that_is_no_model_lists_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither embedlake\.json with a family, nor modules\.json"):
        resolve(str(tmp_path))


def test_an_unknown_family_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "embedlake.json").write_text(json.dumps({"family": "clap"}))
    with pytest.raises(ModelError, match="unknown family 'clap'; known are composed, embedding-gemma2"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("text", ["{", '{"widths": "x"}'])
def test_a_broken_declaration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "embedlake.json").write_text(text)
    with pytest.raises(ModelError, match=r"embedlake\.json") as raised:
        resolve(str(tmp_path))
    assert "\n" not in str(raised.value)
