"""The config file: defaults for the command line's flags, checked before anything starts."""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from schemas.card import Frozen
from schemas.compare import Gate


class StorageConfig(Frozen):
    """Object storage. Credentials come from the AWS environment (variables, profile, role), never from here."""

    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    attempts: int = Field(default=6, ge=1, description="tries of one request, the first included")
    retry_seconds: float = Field(default=60, gt=0, description="no try of a request starts later than this")
    timeout_seconds: float = Field(default=30, gt=0, description="without a byte, until a try is given up")
    concurrency: int = Field(default=32, gt=0, description="requests of one process at a time")


class DecodeConfig(Frozen):
    """What the decoding of one asset may take; over it the asset is quarantined. None of it changes a segment."""

    isolated: bool = Field(
        default=True, description="decode in a child process; else in a task, which a decoder's crash ends"
    )
    timeout_seconds: float = Field(
        default=300, gt=0, description="without a segment, while one is waited for"
    )
    cpu_seconds: int = Field(default=3600, gt=0, description="of one asset")
    memory_bytes: int = Field(default=4 << 30, gt=0, description="address space beyond the libraries' own")
    scratch_bytes: int = Field(default=2 << 30, gt=0, description="of one temporary file")


class RunConfig(Frozen):
    """How a run uses the machine; none of it changes what is written, but `exact` the last digits of vectors."""

    actors: int | None = Field(default=None, gt=0, description="embedding actors; one a GPU when None")
    max_actors: int | None = Field(
        default=None,
        gt=0,
        description="let the pool grow to so many while work waits, on nodes that Ray's autoscaler starts for them; "
        "None: it stays as it is",
    )
    actor_threads: int | None = Field(default=None, gt=0)
    token_budget: int = Field(default=16_384, gt=0, description="padded tokens of one forward pass")
    exact: bool = Field(
        default=False,
        description="float32 arithmetic even where the device is faster in bfloat16 (cosine to it .999 and more)",
    )
    compile_model: bool = Field(
        default=False, description="compile a model that can be; an actor's first passes then take minutes"
    )
    decode_apart: bool | None = Field(
        default=None,
        description="read and decode in tasks apart from the actors; None: beside GPUs, and if not isolated always",
    )
    shard_assets: int = Field(
        default=512, gt=0, description="assets of one shard, which is read in one go, at most"
    )
    shard_bytes: int = Field(default=32 << 20, gt=0, description="bytes of one shard, about")
    block_rows: int = Field(
        default=1024,
        gt=0,
        description="rows that an actor embeds at once and a crash can cost, in a part for each call",
    )
    block_bytes: int = Field(default=32 << 20, gt=0, description="media of such a block, about")
    decode: DecodeConfig = DecodeConfig()

    @model_validator(mode="after")
    def _check_actors(self) -> Self:
        if self.actors and self.max_actors and self.max_actors < self.actors:
            raise ValueError(f"max_actors ({self.max_actors}) is below actors ({self.actors})")
        return self


class Selection(Frozen):
    """Which of the listed assets a run looks at. What it does not look at stays as it is, deleted or not.

    A glob knows `*` (folders too) and `?`, and fits the whole URI or what follows any `/` of it.
    """

    full: bool = Field(default=False, description="embed everything again, changed or not")
    since: AwareDatetime | None = Field(default=None, description="only what was modified since")
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_assets: int | None = Field(default=None, gt=0, description="so many assets, the rest next time")
    only: tuple[str, ...] | None = Field(
        default=None, description="exactly these URIs, again whatever became of them; all else is left alone"
    )


class Policy(Frozen):
    """What a run may spend, and when it refuses to publish."""

    coverage_floor: float = Field(
        default=0.98, ge=0, le=1, description="least share of the assets tried that must have got vectors"
    )
    max_deleted: float = Field(
        default=0.5, ge=0, le=1, description="largest share of the corpus' assets that one run may delete"
    )
    budget_gpu_hours: float | None = Field(
        default=None, gt=0, description="actor-hours of the embedding pool, the rest next time"
    )
    wait_minutes: float = Field(default=0, ge=0, description="how long to wait for another run of the corpus")


class Config(Frozen):
    """`embedlake.yaml`; every key is a default that the environment and the flags override."""

    lake: str | None = None
    corpus: str | None = None
    model: str | None = None
    recipe: str | None = None
    allow: tuple[str, ...] = ()
    ray_address: str | None = None
    keep_prepared: bool = Field(default=False, description="keep decoded media for the next model's backfill")
    storage: StorageConfig = StorageConfig()
    run: RunConfig = RunConfig()
    policy: Policy = Policy()
    gate: Gate = Gate()
