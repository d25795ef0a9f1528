"""What storage can do to a request: the kind of each error, how long to try again, and never a secret in a message."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self, TypeVar

import botocore.exceptions
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from schemas.config import StorageConfig

T = TypeVar("T")
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes to read. `etag` and `size` (of the object, or of the range) are checked when known."""

    uri: str
    etag: str | None = None
    size: int | None = None
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Stat:
    """What storage says of one object. `etag` changes when the object does."""

    size: int
    etag: str | None
    mtime: datetime | None


class Fault(StrEnum):
    """What an error of storage means for the one who asked."""

    TRANSIENT = "transient"
    MISSING = "missing"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    CHANGED = "changed"
    OTHER = "other"


class StorageFault(OSError):
    """A request that failed for good: `why` is one line without a secret."""

    def __init__(self, fault: Fault, uri: str, why: str) -> None:
        super().__init__(f"{uri}: {why}")
        self.fault = fault
        self.uri = uri
        self.why = why

    def __reduce__(self) -> tuple[type[Self], tuple[Fault, str, str]]:
        return type(self), (self.fault, self.uri, self.why)


class MissingObject(StorageFault, FileNotFoundError):
    """There is no such object."""


class NotAFile(MissingObject):
    """The name is that of a folder, pipe, socket or device."""


class DeniedObject(StorageFault, PermissionError):
    """The object may not be read or written with these credentials or file modes."""


class BrokenAnswer(Exception):
    """An answer that broke off, or is not what was asked for."""


_EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
)
_REFUSED_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"})
_CLOCK_CODES = frozenset({"RequestTimeTooSkewed"})
CREDENTIAL_CODES = _EXPIRED_CODES | _REFUSED_CODES | _CLOCK_CODES
_CREDENTIAL_ERRORS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.SSOError,
    botocore.exceptions.ProfileNotFound,
)
_BY_CODE = {
    **dict.fromkeys(CREDENTIAL_CODES, Fault.CREDENTIALS),
    **dict.fromkeys(("NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound", "404"), Fault.MISSING),
    **dict.fromkeys(
        ("AccessDenied", "AllAccessDisabled", "InvalidObjectState", "Forbidden", "403"), Fault.DENIED
    ),
    **dict.fromkeys(("PreconditionFailed", "412", "InvalidRange", "416"), Fault.CHANGED),
    **dict.fromkeys(
        (
            *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"),
            *("RequestTimeout", "PriorRequestNotComplete", "IncompleteBody", "OperationAborted", "429"),
            *("ConditionalRequestConflict", "BadDigest", "XAmzContentSHA256Mismatch"),
        ),
        Fault.TRANSIENT,
    ),
}
_TRANSIENT_ERRORS = (
    BrokenAnswer,
    ConnectionError,
    TimeoutError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ChecksumError,
    botocore.exceptions.FlexibleChecksumError,
    botocore.exceptions.IncompleteReadError,
)


def fault_of(error: BaseException) -> Fault:
    """The kind of whatever a storage library raised."""
    if isinstance(error, StorageFault):
        return error.fault
    if isinstance(error, _CREDENTIAL_ERRORS):
        return Fault.CREDENTIALS
    if (code := code_of(error)) is not None:
        return _BY_CODE.get(code, Fault.TRANSIENT if _status(error) >= 500 else Fault.OTHER)
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return Fault.MISSING
    if isinstance(error, PermissionError):
        return Fault.DENIED
    return Fault.TRANSIENT if isinstance(error, _TRANSIENT_ERRORS) else Fault.OTHER


def code_of(error: BaseException) -> str | None:
    """S3's own code of an error, if S3 has answered at all."""
    code = _response(error).get("Error", {}).get("Code")
    return str(code) if code else None


def _status(error: BaseException) -> int:
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _response(error: BaseException) -> dict[str, Any]:
    found = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return found if isinstance(found, dict) else {}


async def tried(config: StorageConfig, uri: str, request: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request, tried again with exponential backoff and full jitter while its fault is transient.

    Raises:
        StorageFault: the last try failed, or an earlier one in a way that another try would not mend.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: fault_of(error) is Fault.TRANSIENT),
        stop=stop_after_attempt(config.attempts) | stop_before_delay(config.retry_seconds),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
        reraise=True,
    )
    try:
        return await retrying(request)
    except Exception as error:
        raise final(error, uri, int(retrying.statistics.get("attempt_number", 1))) from error


def final(error: BaseException, uri: str, tries: int = 1) -> StorageFault:
    """An error as the fault that callers see, with the number of tries that it took."""
    if isinstance(error, StorageFault):
        return error
    fault, code = fault_of(error), code_of(error)
    kind = {Fault.MISSING: MissingObject, Fault.DENIED: DeniedObject}.get(fault, StorageFault)
    detail = _response(error).get("Error", {}).get("Message") or str(error) or "no reason given"
    why = f"{code or type(error).__name__}: {one_line(detail)}"
    return kind(fault, uri, why + (f" ({tries} tries)" if tries > 1 else ""))


def remedy(code: str) -> str:
    """What to do about one of `CREDENTIAL_CODES`."""
    if code in _EXPIRED_CODES:
        return "the credentials have expired: renew them and run the same command again, it continues"
    if code in _CLOCK_CODES:
        return "this machine's clock is wrong: set it"
    return "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"


_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_SECRETS = (
    re.compile(r"(?i)(x-amz-(?:signature|credential|security-token)\W{0,3}[=:]\s*)[^\s&\"'<>,;]+"),
    re.compile(
        r"(?i)((?:signature|credential|aws_secret_access_key|aws_session_token)\s*[=:]\s*)[^\s&\"'<>,;]+"
    ),
    re.compile(r"(?i)(<(?:AWSAccessKeyId|SignatureProvided|StringToSign|CanonicalRequest|Token-0)>)[^<]*"),
    re.compile(r"(://)[^\s/@]+(?=@)"),
)


def redacted(text: str) -> str:
    """A text with keys, signatures and tokens struck out."""
    for name in _SECRET_VARIABLES:
        if len(secret := os.environ.get(name, "")) >= 4:
            text = text.replace(secret, "***")
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***", text)
    return text


def one_line(text: str, length: int = 300) -> str:
    """A library's message on one line, at most `length` characters and without a secret."""
    return " ".join(redacted(text).split())[:length]
