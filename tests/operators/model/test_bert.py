"""The encoder is BERT: what transformers' own makes of the same checkpoint, padded, packed, or trained a step."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from operators.model.bert.encoder import Encoder
from operators.model.bert.shape import Shape
from operators.model.device import packs

CPU = torch.device("cpu")
LENGTHS = (9, 5, 1)


@pytest.fixture
def both() -> tuple[Encoder, BertModel]:
    """The encoder and transformers' own, of one small checkpoint."""
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    bert = BertModel(shape, add_pooling_layer=False).eval()
    with torch.no_grad():
        for weight in bert.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    sizes = {"vocabulary": 50, "hidden": 32, "layers": 2, "heads": 4, "intermediate": 64, "positions": 16}
    encoder = Encoder(Shape(**sizes))
    # Copied: both may learn.
    encoder.load_state_dict(bert.state_dict())
    return encoder, bert


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Embedded rows of different lengths, and which tokens are theirs."""
    torch.manual_seed(1)
    return torch.randn(len(LENGTHS), max(LENGTHS), 32), torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[
        :, None
    ]


def expected(bert: BertModel) -> torch.Tensor:
    x, mask = rows()
    found: torch.Tensor = bert(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state
    return found[mask]


def test_padded_rows_are_read_as_bert_reads_them(both: tuple[Encoder, BertModel]) -> None:
    encoder, bert = both
    x, mask = rows()
    torch.testing.assert_close(encoder(x, mask[:, None, None])[mask], expected(bert), rtol=1e-4, atol=1e-5)


def test_rows_of_one_length_need_no_mask(both: tuple[Encoder, BertModel]) -> None:
    encoder, _ = both
    x, mask = rows()
    torch.testing.assert_close(
        encoder(x[:1], None), encoder(x, mask[:, None, None])[:1], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_packed_it_reads_the_same(
    both: tuple[Encoder, BertModel], dtype: torch.dtype, tolerance: float
) -> None:
    if not packs(CPU, dtype):
        pytest.skip("this CPU packs no products of this type")
    encoder, bert = both
    encoder.multiply_in(dtype)
    assert not [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)]
    x, mask = rows()
    with torch.inference_mode():
        torch.testing.assert_close(
            encoder(x, mask[:, None, None])[mask], expected(bert), rtol=tolerance, atol=tolerance
        )


def test_it_learns_as_bert_does(both: tuple[Encoder, BertModel]) -> None:
    encoder, bert = both
    x, mask = rows()
    for found in (encoder(x, mask[:, None, None])[mask], expected(bert)):
        found.square().mean().backward()
    name = "encoder.layer.0.attention.self.query.weight"
    own, theirs = (dict(model.named_parameters())[name].grad for model in both)
    torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-5)
