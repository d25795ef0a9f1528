"""Errors for people (one line, an exit code) and for assets (a stable code in a quarantine row)."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Process exit codes, documented in the README; scripts may rely on them.

    COVERAGE is a refusal by a policy: a run that is staged but not published, or a space that no comparison has passed.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    SOURCE = 3
    LAKE = 4
    MODEL = 5
    CONFLICT = 6
    COVERAGE = 7
    INTERRUPTED = 130


class EmbedlakeError(Exception):
    """A person's error: one clear line that names the offending thing and the way out."""

    exit_code = ExitCode.FAILED


class UsageError(EmbedlakeError):
    """A wrong argument, config or recipe."""

    exit_code = ExitCode.USAGE


class SourceError(EmbedlakeError):
    """A source that cannot be listed or a manifest that cannot be read."""

    exit_code = ExitCode.SOURCE


class LakeError(EmbedlakeError):
    """A lake that cannot be opened or written, or lacks what was asked for."""

    exit_code = ExitCode.LAKE


class ModelError(EmbedlakeError):
    """A model that cannot be loaded, or is not the one that made the vectors."""

    exit_code = ExitCode.MODEL


class ConflictError(EmbedlakeError):
    """Another run holds the corpus or published first; nothing of this one was published."""

    exit_code = ExitCode.CONFLICT


class CoverageError(EmbedlakeError):
    """A run that is staged but refuses to publish: too many assets failed, or too many would be deleted."""

    exit_code = ExitCode.COVERAGE


class GateError(EmbedlakeError):
    """A space that may not become the live one: no comparison of it has passed the gate. Nothing was changed."""

    exit_code = ExitCode.COVERAGE


class Interrupted(EmbedlakeError):
    """A person stopped the run; the same command continues it."""

    exit_code = ExitCode.INTERRUPTED


class Stage(StrEnum):
    """Where in the dataflow an asset failed."""

    FETCH = "fetch"
    DECODE = "decode"
    PREPARE = "prepare"
    EMBED = "embed"


class ErrorCode(StrEnum):
    """The closed list of reasons in a quarantine row. Codes are stable: they are never renamed."""

    SOURCE_NOT_ALLOWED = "source_not_allowed"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    STORAGE = "storage"
    CHANGED = "changed_while_reading"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    UNSUPPORTED = "unsupported_format"
    MODALITY = "modality_not_in_model"
    CORRUPT = "corrupt"
    ENCRYPTED = "encrypted"
    LIMIT = "over_limit"
    INVALID_DOCUMENT = "invalid_document"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    EMBED_FAILED = "embed_failed"
    NOT_FINITE = "vector_not_finite"
    INTERNAL = "internal"


RETRIED = frozenset(
    {
        ErrorCode.STORAGE,
        ErrorCode.CHANGED,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.NOT_FOUND,
        ErrorCode.SOURCE_NOT_ALLOWED,
        ErrorCode.EMBED_FAILED,
    }
)
"""Codes that depend on more than the object's bytes: the next run tries again without being asked."""


class AssetError(Exception):
    """One asset cannot be embedded: it becomes one quarantine row and the run goes on."""

    def __init__(self, code: ErrorCode, detail: str, stage: Stage = Stage.DECODE) -> None:
        super().__init__(code, detail, stage)
        self.code = code
        self.detail = detail
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.stage}: {self.code}: {self.detail}"


def from_storage(error: BaseException) -> bool:
    """Whether the system or its storage failed, and not what was read: an OSError of a library has no number."""
    return isinstance(error, OSError) and error.errno is not None


def described(error: BaseException) -> str:
    """The class and message of an unexpected exception on one line, at most 300 characters of message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
