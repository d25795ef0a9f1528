"""Where a model runs: device, number type, CPU threads and the micro-batch that suits them."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch

_BUDGETS = {"cuda": 65_536, "mps": 16_384, "cpu": 1_024}


def pick_device(device: str | None, threads: int | None) -> torch.device:
    """The device asked for, or the best one there is; sets torch's CPU threads on the way.

    Raises:
        ModelError: the device is unknown or absent.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if device is None:
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device '{device}' cannot be used here: {reason}") from error
    return chosen


def product_dtype(device: torch.device, *, exact: bool = False) -> torch.dtype:
    """What matrix products are made in: bfloat16 on a GPU or CPU that has instructions for it, else float32.

    Everything between them, sums within them included, stays in float32. `exact` asks for float32 anywhere.
    """
    import torch

    if device.type == "cpu" and not exact:
        has = torch.cpu.get_capabilities()
        return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    return weights_dtype(device, exact=exact)


def products_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[None]:
    """Run matrix products in a type, on this thread."""
    import torch

    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def hold_products_in(dtype: torch.dtype, *models: torch.nn.Module) -> None:
    """Hold the weights of linear layers and convolutions in a type: else each pass would cast them again."""
    from torch import nn

    for layer in (layer for model in models for layer in model.modules()):
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.weight.data = layer.weight.data.to(dtype)
            if layer.bias is not None:
                layer.bias.data = layer.bias.data.to(dtype)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN lays weights out for products in a type on a device, once instead of in every pass."""
    import torch

    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype in (torch.float32, product_dtype(device))


def weights_dtype(device: torch.device, *, exact: bool = False) -> torch.dtype:
    """bfloat16 on a GPU that has it, float32 elsewhere and where `exact`; float16 overflows in Gemma's activations."""
    import torch

    if not exact and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def token_budget(device: torch.device) -> int:
    """Padded tokens of one forward pass."""
    return _BUDGETS.get(device.type, _BUDGETS["cpu"])


def give_back_memory() -> None:
    """Return to the system what loading has left in the C library's heap, where that can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def quiet_transformers() -> None:
    """No progress bars and load reports on the screen: parts that are left out are left out on purpose."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
