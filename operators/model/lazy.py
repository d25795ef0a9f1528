"""Parts of a model that wait on disk until an input needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from operators.model.device import give_back_memory

Takes = ParamSpec("Takes")
Gives = TypeVar("Gives")


def loaded_when_called(load: Callable[[], Callable[Takes, Gives]]) -> Callable[Takes, Gives]:
    """What `load` returns, loaded by the first call on any thread; calls meanwhile wait for it.

    Whatever `load` raises the call raises, and the next call loads again.
    """
    lock = threading.Lock()
    loaded: list[Callable[Takes, Gives]] = []

    def call(*args: Takes.args, **named: Takes.kwargs) -> Gives:
        with lock:
            if not loaded:
                loaded.append(_as_at_the_start(load))
        return loaded[0](*args, **named)

    return call


def _as_at_the_start(load: Callable[[], Gives]) -> Gives:
    # A pass is in inference mode, and tensors that are made there can never be trained or saved for a gradient.
    with torch.inference_mode(False):
        found = load()
    give_back_memory()
    return found
