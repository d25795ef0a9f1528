"""A random-weight BERT saved as a sentence-transformers model, built offline in well under a second."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_TEXT = "the a cat dog boat sat on mat river ran far away query passage : , . [ ] < | > sep image"
PROMPTS = {"query": "query: ", "document": "passage: "}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def build_tiny_text(
    folder: Path, max_tokens: int = 64, prompts: dict[str, str] | None = None, pooling: str = "mean"
) -> Path:
    """Save a 32-wide model that takes `max_tokens` tokens.

    Its tokenizer file asks for padding and truncation, as that of all-MiniLM-L6-v2 does.
    """
    base = folder.parent / f"{folder.name}-base"
    _tokenizer(max_tokens).save_pretrained(base)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_tokens,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(base)
    modules = [
        Transformer(str(base), max_seq_length=max_tokens),
        Pooling(32, pooling_mode=pooling),
        Normalize(),
    ]
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save(str(folder))
    _poison(folder)
    return folder


def _tokenizer(max_tokens: int) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *_TEXT.split(), *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_tokens,
    )


def _poison(folder: Path) -> None:
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(8)
    tokenizer.save(path)


def unpoisoned(folder: Path) -> SentenceTransformer:
    """The model as its library runs it, over whole texts."""
    model = SentenceTransformer(str(folder), device="cpu")
    backend = model.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return model
