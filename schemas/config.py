"""The config file: defaults for the command line's flags, checked before anything starts."""

from __future__ import annotations

from pydantic import Field

from schemas.card import Frozen


class StorageConfig(Frozen):
    """Object storage. Credentials come from the AWS environment (variables, profile, role), never from here."""

    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False


class RunConfig(Frozen):
    """How a run uses the machine; none of it changes what is written."""

    actors: int | None = Field(default=None, gt=0, description="embedding actors; one a GPU when None")
    actor_threads: int | None = Field(default=None, gt=0)
    token_budget: int = Field(default=16_384, gt=0, description="padded tokens of one forward pass")
    shard_assets: int = Field(default=64, gt=0, description="assets of one decode task, at most")
    shard_bytes: int = Field(default=32 << 20, gt=0, description="bytes of one decode task, about")
    stage_rows: int = Field(default=1024, gt=0, description="segments of one staged fragment, about")


class Config(Frozen):
    """`embedlake.yaml`; every key is a default that the environment and the flags override."""

    lake: str | None = None
    corpus: str | None = None
    model: str | None = None
    recipe: str | None = None
    allow: tuple[str, ...] = ()
    ray_address: str | None = None
    storage: StorageConfig = StorageConfig()
    run: RunConfig = RunConfig()
