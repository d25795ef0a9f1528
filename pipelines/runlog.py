"""A run's log: what the run and Ray say, in one file of the run's folder."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.storage import Storage

LOGGER = logging.getLogger("embedlake")
_RAY = ("ray", "ray.data")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def run_log(storage: Storage, uri: str) -> Iterator[None]:
    """Collect the log on local disk while the block runs, and put it at `uri` however the block ends."""
    with tempfile.TemporaryDirectory(prefix="embedlake-") as folder:
        path = Path(folder) / "run.log"
        handler = logging.FileHandler(path)
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter(_FORMAT))
        loggers = [LOGGER, *(logging.getLogger(name) for name in _RAY)]
        LOGGER.setLevel(logging.INFO)
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield
        except BaseException:
            LOGGER.exception("the run ended early")
            raise
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()
            storage.put(uri, path.read_bytes())
