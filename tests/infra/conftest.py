"""The command line's fixture, for the commands that the files of `infra/` run."""

from tests.jobs.conftest import embedlake

__all__ = ["embedlake"]
