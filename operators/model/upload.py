"""Arrays to a device: on CUDA through pinned memory on a stream of its own, while the model computes."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


class Upload:
    """Copies host arrays to one device; no call waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, array: npt.NDArray[Any]) -> torch.Tensor:
        """The array as a tensor that the device's current stream may use."""
        host = torch.from_numpy(array)
        if self._stream is None:
            return host.to(self._device)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = host.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        moved.record_stream(current)
        return moved
