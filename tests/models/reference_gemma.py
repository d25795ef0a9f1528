"""EmbeddingGemma 2 as sentence-transformers and transformers run it: what our engine is compared with.

Everything is theirs except the class that feeds video frames: transformers' own needs torchvision, which has
no build for a CPU-only torch on PyPI, so frames go through the model's Pillow image processor instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, EmbeddingGemma2Processor, Gemma4AudioFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_utils import make_batched_metadata, make_batched_videos

from operators.model.gemma_inputs import sound_settings
from tests.models.tiny_gemma import image_processor


class PillowFrames:
    """The part of `EmbeddingGemma2VideoProcessor` that does not sample: every frame given is used."""

    model_input_names = ("pixel_values_videos", "video_position_ids", "num_frames_per_video")
    add_timestamps = False

    def __init__(self, folder: Path) -> None:
        self._images = image_processor(folder, "video_processor")

    def __call__(self, videos: Any, video_metadata: Any = None, **_: Any) -> BatchFeature:
        videos = make_batched_videos(videos)
        metadata = make_batched_metadata(videos, video_metadata=video_metadata)
        frames = [self._images(list(video), return_tensors="pt") for video in videos]
        return BatchFeature(
            {
                "pixel_values_videos": np.concatenate([f["pixel_values"] for f in frames]),
                "video_position_ids": np.concatenate([f["image_position_ids"] for f in frames]),
                "num_frames_per_video": [len(video) for video in videos],
                "num_soft_tokens_per_video": [int(f["num_soft_tokens_per_image"][0]) for f in frames],
                "video_metadata": metadata,
            }
        )


class ReferenceProcessor(EmbeddingGemma2Processor):
    """The model's own processor, with `PillowFrames` allowed in."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if isinstance(argument, PillowFrames):
            return PillowFrames
        return super().check_argument_for_proper_class(argument_name, argument)


def reference_processor(folder: Path) -> ReferenceProcessor:
    return ReferenceProcessor(
        feature_extractor=Gemma4AudioFeatureExtractor.from_dict(sound_settings(folder)),
        image_processor=image_processor(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        video_processor=PillowFrames(folder),
        chat_template=(folder / "chat_template.jinja").read_text(),
    )


def reference_model(folder: Path, device: str = "cpu", **model: Any) -> SentenceTransformer:
    """The model as sentence-transformers loads it; `model` goes to transformers' `from_pretrained`."""
    processor = reference_processor(folder)
    with patch(
        "sentence_transformers.base.modules.transformer.AutoProcessor.from_pretrained", return_value=processor
    ):
        return SentenceTransformer(str(folder), device=device, model_kwargs=model)
