"""Errors of workers as the driver tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from operators.faults import StorageFault
from operators.storage import explain
from schemas.errors import EmbedlakeError, LakeError

_RAY_ADDS = "\nFailed to apply UDF transform"


@contextmanager
def explained_workers(uri: str) -> Iterator[None]:
    """Raise what a worker raised, and not Ray's report of it, when it is for people or comes from storage.

    Raises:
        EmbedlakeError: the worker's own; a `LakeError` when storage has failed it for good.
    """
    try:
        yield
    except Exception as error:
        cause = getattr(error, "cause", None)
        said = str(cause).partition(_RAY_ADDS)[0]
        if isinstance(cause, EmbedlakeError):
            raise type(cause)(said) from error
        if isinstance(cause, OSError):
            fault = cause if isinstance(cause, StorageFault) else type(cause)(said)
            raise explain(fault, uri, LakeError) from error
        raise
