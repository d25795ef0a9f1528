"""EmbeddingGemma 2 under the project's trainer: the folder's own pooling, full precision weights, task strings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EmbeddingGemma2Model

from operators.model.batching import pad
from operators.model.gemma_inputs import GemmaLayout
from operators.model.source import modules_of
from operators.model.tokens import FastTokenizer


class GemmaTexts(nn.Module):
    """The model with its pooling, as `Trainer.embed` wants it: texts to vectors with their graph.

    The trainer's `autocast` keeps the weights in float32 and runs the model in bfloat16; float16 is no choice for it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from sentence_transformers.sentence_transformer import modules

        self.model: Any = EmbeddingGemma2Model.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        heads = [getattr(modules, name).load(str(path)) for name, path, _ in modules_of(folder)[1:]]
        self.head = nn.ModuleList(heads)
        self.tokenizer = FastTokenizer.from_folder(folder, GemmaLayout.read(folder).controls)
        self._pad = int(self.model.config.get_text_config().pad_token_id or 0)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors `[texts, dim]`."""
        counter = self.tokenizer
        rows = [np.concatenate([counter.prefix, counter.ids(text), counter.suffix]) for text in texts]
        ids, mask = (torch.from_numpy(array).to(self.model.device) for array in pad(rows, self._pad))
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        features["token_embeddings"] = self.model(**features, return_dict=True).last_hidden_state
        for module in self.head:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors


def with_task(text: str, task: str, rng: random.Random, drop: float = 0.2) -> str:
    """The text after its task string, which is dropped at random so that the model works without it too."""
    return text if rng.random() < drop else task + text
