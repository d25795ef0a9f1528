"""A run's log: what the run and Ray say, in one file of the run's folder."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.faults import redacted
from operators.storage import Storage, explained
from schemas.errors import LakeError

LOGGER = logging.getLogger("embedlake")
_RAY = ("ray", "ray.data")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """Libraries' messages and tracebacks, without keys and tokens."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


@contextmanager
def run_log(storage: Storage, uri: str) -> Iterator[None]:
    """Collect the log on local disk while the block runs, and put it at `uri` however the block ends.

    Raises:
        LakeError: the log cannot be put; the block's own error comes first and gets that as a note.
    """
    with tempfile.TemporaryDirectory(prefix="embedlake-") as folder:
        path = Path(folder) / "run.log"
        handler = logging.FileHandler(path)
        handler.setLevel(logging.INFO)
        handler.setFormatter(_Formatter(_FORMAT))
        loggers = [LOGGER, *(logging.getLogger(name) for name in _RAY)]
        LOGGER.setLevel(logging.INFO)
        for logger in loggers:
            logger.addHandler(handler)
        failed: BaseException | None = None
        try:
            yield
        except BaseException as error:
            LOGGER.exception("the run ended early")
            failed = error
            raise
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()
            _keep(storage, uri, path.read_bytes(), failed)


def _keep(storage: Storage, uri: str, log: bytes, failed: BaseException | None) -> None:
    try:
        with explained(uri, LakeError):
            storage.put(uri, log)
    except LakeError as error:
        if failed is None:
            raise
        failed.add_note(f"the log was not kept: {error}")
