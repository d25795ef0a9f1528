"""Object storage and local disk: URIs, checked reads, atomic small puts, and errors that a person understands."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fsspec
from fsspec import AbstractFileSystem

from operators import disk
from operators.faults import (
    CREDENTIAL_CODES,
    Fault,
    NotAFile,
    Read,
    Stat,
    StorageFault,
    code_of,
    fault_of,
    one_line,
    remedy,
)
from schemas.config import StorageConfig
from schemas.errors import EmbedlakeError, UsageError

if TYPE_CHECKING:
    from operators.s3 import S3

SCHEMES = ("s3", "file")


def scheme(uri: str) -> str:
    """The URI's scheme, `file` for a plain path."""
    head, sep, _ = uri.partition("://")
    return head.lower() if sep else "file"


def normalize(uri: str) -> str:
    """The one spelling of a URI: `s3://bucket/key`, or an absolute local path.

    Raises:
        UsageError: it is empty, not UTF-8, of a scheme that embedlake does not read, or names a host.
    """
    if not uri.strip():
        raise UsageError("no lake or source given: name a local path or s3://bucket/prefix")
    if not is_text(uri):
        raise UsageError(f"the path {uri!r} is not UTF-8: rename it, or name a folder above it")
    kind = scheme(uri)
    if kind not in SCHEMES:
        raise UsageError(f"unknown scheme '{kind}://' in {uri}: use a local path or s3://")
    rest = uri.partition("://")[2] if "://" in uri else None
    if kind == "s3":
        if not (rest or "").split("/", 1)[0]:
            raise UsageError(f"no bucket in {uri}: write s3://bucket/prefix")
        return f"s3://{rest}".rstrip("/")
    if rest is not None and not rest.startswith("/"):
        host = rest.split("/", 1)[0]
        raise UsageError(f"host '{host}' in {uri}: write file:///path or a plain path")
    return os.path.abspath(os.path.expanduser(uri if rest is None else rest))


def check_lake_uri(uri: str) -> str:
    """A lake's URI in its one spelling.

    Raises:
        UsageError: as `normalize`, or it is on S3 with a `#` or `?`, which Lance would cut it at.
    """
    lake = normalize(uri)
    if scheme(lake) == "s3" and ("#" in lake or "?" in lake):
        raise UsageError(f"a lake on S3 cannot have '#' or '?' in its URI: {lake}")
    return lake


def is_text(name: str) -> bool:
    """Whether a local name is UTF-8, which every uri in a lake is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def join(base: str, *parts: str) -> str:
    """A URI below a base URI."""
    return "/".join((base.rstrip("/"), *parts))


def parent(uri: str) -> str:
    """The folder or prefix that holds the object; that of a file at the top is `/`."""
    return uri.rsplit("/", 1)[0] or "/"


def resolve(reference: str, base: str) -> str:
    """A reference (absolute, or relative to the folder `base`) as a normal URI.

    Raises:
        UsageError: the scheme is not one that embedlake reads.
    """
    if "://" in reference or reference.startswith("/"):
        return normalize(reference)
    if scheme(base) == "s3":
        return "s3://" + posixpath.normpath(posixpath.join(base[5:], reference))
    return os.path.normpath(os.path.join(base, reference))


def is_within(uri: str, root: str) -> bool:
    """Whether an object lies in a root; links and `..` are followed before the comparison.

    An empty URI is nowhere and holds nothing.
    """
    if not uri or not root or scheme(uri) != scheme(root):
        return False
    if scheme(uri) == "s3":
        key, prefix = posixpath.normpath(uri[5:]), posixpath.normpath(root[5:])
    else:
        key, prefix = os.path.realpath(uri), os.path.realpath(root)
    return key == prefix or key.startswith(prefix.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class Storage:
    """How to reach storage; picklable, and without a secret: those stay in each machine's environment."""

    config: StorageConfig = StorageConfig()

    @property
    def endpoint_url(self) -> str | None:
        """The S3 endpoint: the config's, else the AWS environment's."""
        found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return self.config.endpoint_url or found

    @property
    def region(self) -> str | None:
        """The S3 region: the config's, else the AWS environment's; botocore alone ignores `AWS_REGION`."""
        return self.config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    def filesystem(self, uri: str) -> tuple[AbstractFileSystem, str]:
        """The fsspec filesystem of a URI and the path in it; botocore tries its requests again."""
        if scheme(uri) != "s3":
            return fsspec.filesystem("file"), disk.path(uri)
        fs = self._filesystem(self.config.attempts)
        fs.retries = 1
        return fs, uri[5:]

    def s3(self) -> S3:
        """The S3 endpoint, for many requests at a time."""
        from operators.s3 import S3  # takes a second to import

        return S3(self._filesystem(1), self.config)

    def _filesystem(self, attempts: int) -> AbstractFileSystem:
        return fsspec.filesystem(
            "s3",
            anon=self.config.anonymous,
            endpoint_url=self.endpoint_url,
            client_kwargs={"region_name": self.region} if self.region else {},
            config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": attempts},
                "connect_timeout": self.config.timeout_seconds,
                "read_timeout": self.config.timeout_seconds,
                "max_pool_connections": self.config.concurrency,
            },
            use_listings_cache=False,
        )

    @property
    def signing_region(self) -> str:
        """The region that S3 requests are signed for."""
        return self.region or "us-east-1"

    def lance_options(self, uri: str) -> dict[str, str] | None:
        """Lance's storage options for a URI; credentials are found by Lance in the same AWS environment."""
        if scheme(uri) != "s3":
            return None
        options = {
            "aws_region": self.signing_region,
            "client_max_retries": str(self.config.attempts - 1),
            "client_retry_timeout": str(round(self.config.retry_seconds)),
            "connect_timeout": f"{self.config.timeout_seconds}s",
        }
        if self.endpoint_url:
            options["aws_endpoint"] = self.endpoint_url
            options["allow_http"] = str(self.endpoint_url.startswith("http://")).lower()
        if self.config.anonymous:
            options["aws_skip_signature"] = "true"
        return options

    def read(self, uri: str) -> bytes:
        """A whole small object.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
        """
        (found,) = self.read_many([Read(uri)])
        if isinstance(found, StorageFault):
            raise found
        return found

    def read_many(self, reads: Sequence[Read]) -> list[bytes | StorageFault]:
        """Whole small objects of one scheme in order, those on S3 many at a time; each is read or failed."""
        on_s3 = bool(reads) and scheme(reads[0].uri) == "s3"
        return self.s3().read_many(reads) if on_s3 else [disk.read(read) for read in reads]

    def blocks(self, read: Read) -> Iterator[bytes]:
        """A large object in blocks of 8 MiB, all of them of one version.

        Raises:
            OSError: it cannot be read, or is not what `read` says.
        """
        return self.s3().blocks(read) if scheme(read.uri) == "s3" else disk.blocks(read)

    def stat_many(self, uris: Sequence[str]) -> list[Stat | StorageFault]:
        """What storage says of each object of one scheme, in order; on S3 many at a time."""
        on_s3 = bool(uris) and scheme(uris[0]) == "s3"
        return self.s3().stat_many(uris) if on_s3 else [disk.look(uri) for uri in uris]

    def refuses_credentials(self, uri: str) -> bool:
        """Whether the bucket of a URI refuses the credentials as such, and not just for one odd key."""
        if scheme(uri) != "s3":
            return False
        s3 = self.s3()
        return s3.run(s3.refuses_credentials, uri[5:].partition("/")[0])

    def names(self, uri: str) -> list[str]:
        """The sorted names of the objects directly below a prefix; none when there is no such prefix.

        Raises:
            FileNotFoundError: there is no such bucket.
        """
        if scheme(uri) == "s3":
            bucket, _, key = uri[5:].partition("/")
            s3 = self.s3()
            return s3.run(s3.names, bucket, f"{key.rstrip('/')}/" if key else "")
        try:
            return sorted(os.listdir(disk.path(uri)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def put(self, uri: str, data: bytes) -> None:
        """Write a small object atomically: a reader sees the old one or the new one."""
        if scheme(uri) == "s3":
            s3 = self.s3()
            s3.run(s3.put, uri, data)
        else:
            disk.put(disk.path(uri), data)

    def put_if_absent(self, uri: str, data: bytes) -> bool:
        """Write a small object atomically unless one is there; of racing writers at most one gets True.

        On S3 the answer to a write may be lost, so an object that holds `data` counts as written by this call: what
        racing writers write has to differ, by an id or a time in it.
        """
        if scheme(uri) != "s3":
            return disk.create(disk.path(uri), data)
        s3 = self.s3()
        return s3.run(s3.create, uri, data)


@contextmanager
def explained(uri: str, kind: type[EmbedlakeError]) -> Iterator[None]:
    """Turn whatever storage raises in the block into one line for a person.

    Raises:
        EmbedlakeError: of `kind`, or the block's own.
    """
    try:
        yield
    except EmbedlakeError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and fault_of(error) is Fault.OTHER:
            raise
        raise explain(error, uri, kind) from error


def explain(error: BaseException, uri: str, kind: type[EmbedlakeError]) -> EmbedlakeError:
    """One line for a person from what storage raised: which object, what is wrong, the way out."""
    fault, text = fault_of(error), one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, StorageFault):
        uri, text = error.uri, error.why
    if isinstance(error, NotAFile):
        return kind(f"{uri}: {text}")
    if fault is Fault.MISSING or "NoSuchBucket" in text or "NoSuchKey" in text:
        hint = f" (is the bucket name '{uri[5:].split('/', 1)[0]}' right?)" if scheme(uri) == "s3" else ""
        return kind(f"not found: {uri}{hint}")
    code = code_of(error) or next((c for c in CREDENTIAL_CODES if c in text), None)
    if code in CREDENTIAL_CODES:
        return kind(f"access denied: {uri} ({code}): {remedy(str(code))}")
    if fault is Fault.CREDENTIALS or "credentials" in text.lower():
        return kind(
            f"no credentials for {uri}: set AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE ({text})"
        )
    if fault is Fault.DENIED or any(word in text for word in ("Forbidden", "AccessDenied", "Access Denied")):
        return kind(f"access denied: {uri} (check what these credentials may do, or the file's mode)")
    if "connect" in text.lower():
        return kind(f"cannot reach the storage of {uri} (check AWS_ENDPOINT_URL): {text[:200]}")
    if fault is Fault.TRANSIENT:
        return kind(f"the storage of {uri} does not answer as it should, run the same command again: {text}")
    return kind(f"{uri}: {text}")
