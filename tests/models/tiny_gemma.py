"""A random-weight EmbeddingGemma 2 with both towers, saved as sentence-transformers saves it, built offline.

Layout as in transformers' conversion of the released weights: the same chat template, prompts, marker tokens,
`[bos] ... [eos]`, 16-pixel patches pooled 3 x 3, 128 mel bins, mean pooling. Sizes are tiny, except that
pictures keep 70 soft tokens, the fewest that the processors allow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import AddedToken
from transformers import (
    EmbeddingGemma2Config,
    EmbeddingGemma2Model,
    EmbeddingGemma2TextConfig,
    Gemma4AudioConfig,
    Gemma4AudioFeatureExtractor,
    Gemma4VisionConfig,
    GemmaTokenizer,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

DIM = 48
PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "Clustering": "task: clustering | query: ",
}
MARKERS = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "audio_token": "<|audio|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
CHAT_TEMPLATE = (
    "{%- for msg in messages -%}{%- if msg.get('content') is not string -%}"
    "{%- set existing_text = msg['content'] | selectattr('type', 'equalto', 'text')"
    " | map(attribute='text') | join -%}"
    "{%- for item in msg['content'] -%}"
    "{%- for kind in ['image', 'video', 'audio'] -%}"
    "{%- if item.get('type') == kind and '<|' + kind + '|>' not in existing_text -%}"
    "{{ '<|' + kind + '|>' }}"
    "{%- endif -%}{%- endfor -%}{%- endfor -%}{%- endif -%}{%- endfor -%}"
    "{%- for msg in messages -%}{%- if msg.get('content') is string -%}{{ msg['content'] }}{%- else -%}"
    "{%- for item in msg['content'] -%}{%- if item.get('type') == 'text' -%}{{ item['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endfor -%}"
)
_WORDS = ["task", "search", "result", "query", "title", "none", "text", "cat", "dog", "boat"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model: the hidden width of text and towers, layers of each, width of a sliding layer's head."""

    hidden: int = 32
    layers: int = 2
    tower_layers: int = 1
    heads: int = 2
    head: int = 16
    window: int = 16
    dim: int = DIM
    image_tokens: int = 70


TINY = Sizes()


def build_tiny_gemma(folder: Path, sizes: Sizes = TINY) -> Path:
    """Save the model into a folder that does not exist yet; the tiny one takes about half a second."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    model = EmbeddingGemma2Model(_config(tokenizer, sizes)).eval()
    _widen(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    Gemma4AudioFeatureExtractor().save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(_processor_config(sizes.image_tokens)))
    _save_modules(folder, sizes.dim)
    return folder


def tiny_tokenizer() -> GemmaTokenizer:
    """A byte-fallback BPE of a few whole words, with Gemma 4's marker tokens."""
    vocab, merges = _vocabulary()
    return GemmaTokenizer(
        vocab=vocab,
        merges=merges,
        add_bos_token=True,
        add_eos_token=True,
        padding_side="right",
        extra_special_tokens=MARKERS,
        additional_special_tokens=[AddedToken(MARKERS["video_token"], special=True)],
        chat_template=CHAT_TEMPLATE,
    )


def image_processor(folder: Path, which: str = "image_processor") -> Gemma4ImageProcessorPil:
    """The Pillow image processor of a model folder, with the settings for pictures or for video frames."""
    settings = json.loads((folder / "processor_config.json").read_text())[which]
    kept = {name: settings[name] for name in ("max_soft_tokens", "patch_size", "pooling_kernel_size")}
    return Gemma4ImageProcessorPil(**kept)


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256))]
    pieces += ["▁", *(chr(c) for c in range(33, 127))]
    merges = []
    for word in _WORDS:
        for end in range(2, len(word) + 1):
            merges.append((word[: end - 1], word[end - 1]))
            pieces.append(word[:end])
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, list(dict.fromkeys(merges))


def _config(tokenizer: GemmaTokenizer, sizes: Sizes) -> EmbeddingGemma2Config:
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in MARKERS.items()}
    text = EmbeddingGemma2TextConfig(
        vocab_size=512,
        hidden_size=sizes.hidden,
        intermediate_size=2 * sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads // 2,
        head_dim=sizes.head,
        sliding_window=sizes.window,
        sliding_window_pattern=sizes.layers,
        global_head_dim=2 * sizes.head,
        hidden_size_per_layer_input=sizes.hidden // 4,
        embedding_dim=sizes.dim,
    )
    vision = Gemma4VisionConfig(
        hidden_size=sizes.hidden,
        intermediate_size=2 * sizes.hidden,
        num_hidden_layers=sizes.tower_layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        head_dim=sizes.hidden // sizes.heads,
        position_embedding_size=512,
    )
    audio = Gemma4AudioConfig(
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.tower_layers,
        num_attention_heads=sizes.heads,
        subsampling_conv_channels=[128, 8],
        output_proj_dims=24,
    )
    return EmbeddingGemma2Config(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_token_id=ids["audio_token"],
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
    )


def _widen(model: EmbeddingGemma2Model) -> None:
    # Fresh weights are so small that every input has nearly the same vector; parity would prove nothing.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(8.0)
            if "position_embedding_table" in name:
                weight.normal_()


def _processor_config(image_tokens: int) -> dict[str, object]:
    patches = {"patch_size": 16, "pooling_kernel_size": 3}
    picture = {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": image_tokens, **patches}
    frame = {
        "video_processor_type": "EmbeddingGemma2VideoProcessor",
        "max_soft_tokens": max(70, image_tokens // 2),
        **patches,
    }
    return {
        "processor_class": "EmbeddingGemma2Processor",
        "image_seq_length": image_tokens,
        "image_processor": picture,
        "video_processor": frame,
        "feature_extractor": json.loads(Gemma4AudioFeatureExtractor().to_json_string()),
    }


def _save_modules(folder: Path, dim: int) -> None:
    types = [
        "base.modules.transformer.Transformer",
        "sentence_transformer.modules.pooling.Pooling",
        "base.modules.normalize.Normalize",
    ]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (path, kind) in enumerate(zip(paths, types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in paths[1:]:
        (folder / path).mkdir()
    Pooling(dim).save(str(folder / paths[1]))
    Normalize().save(str(folder / paths[2]))
    described = {"model_type": "SentenceTransformer", "prompts": PROMPTS, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(described))
    method: dict[str, str] = {"method": "forward", "method_output_name": "last_hidden_state"}
    kinds = dict.fromkeys(("text", "image", "audio", "video"), method)
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": {**kinds, "message": {**method, "format": "structured"}},
        "module_output_name": "token_embeddings",
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(transformer))
