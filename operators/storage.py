"""Object storage behind fsspec: URIs, atomic small puts, and errors that a person understands."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from schemas.config import StorageConfig
from schemas.errors import EmbedlakeError, UsageError

SCHEMES = ("s3", "file")
_STORAGE_MODULES = frozenset({"botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec"})


def scheme(uri: str) -> str:
    """The URI's scheme, `file` for a plain path."""
    head, sep, _ = uri.partition("://")
    return head.lower() if sep else "file"


def normalize(uri: str) -> str:
    """The one spelling of a URI: `s3://bucket/key`, or an absolute local path.

    Raises:
        UsageError: the scheme is not one that embedlake reads.
    """
    kind = scheme(uri)
    if kind not in SCHEMES:
        raise UsageError(f"unknown scheme '{kind}://' in {uri}: use a local path or s3://")
    if kind == "s3":
        bucket = uri[5:].split("/", 1)[0]
        if not bucket:
            raise UsageError(f"no bucket in {uri}: write s3://bucket/prefix")
        return "s3://" + uri[5:].rstrip("/")
    return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))


def join(base: str, *parts: str) -> str:
    """A URI below a base URI."""
    return "/".join((base.rstrip("/"), *parts))


def parent(uri: str) -> str:
    """The folder or prefix that holds the object."""
    return uri.rsplit("/", 1)[0]


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
    """Whether an object lies in a root; links and `..` are followed before the comparison."""
    if scheme(uri) != scheme(root):
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
        env = os.environ
        return self.config.endpoint_url or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")

    def filesystem(self, uri: str) -> tuple[AbstractFileSystem, str]:
        """The filesystem of a URI and the path in it."""
        if scheme(uri) != "s3":
            return fsspec.filesystem("file"), uri.removeprefix("file://")
        client: dict[str, Any] = {"region_name": self.config.region} if self.config.region else {}
        fs = fsspec.filesystem(
            "s3",
            anon=self.config.anonymous,
            endpoint_url=self.endpoint_url,
            client_kwargs=client,
            use_listings_cache=False,
        )
        return fs, uri[5:]

    def lance_options(self, uri: str) -> dict[str, str] | None:
        """Lance's storage options for a URI; credentials are found by Lance in the same AWS environment."""
        if scheme(uri) != "s3":
            return None
        region = self.config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        options = {"aws_region": region or "us-east-1"}
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
        """
        fs, path = self.filesystem(uri)
        return bytes(fs.cat_file(path))

    def names(self, uri: str) -> list[str]:
        """The sorted names of the objects directly below a prefix; none when there is no such prefix."""
        fs, path = self.filesystem(uri)
        try:
            return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False))
        except FileNotFoundError:
            return []

    def put(self, uri: str, data: bytes) -> None:
        """Write a small object atomically: a reader sees the old one or the new one."""
        fs, path = self.filesystem(uri)
        if scheme(uri) == "s3":
            fs.pipe_file(path, data)
            return
        os.replace(_spill(path, data), path)

    def put_if_absent(self, uri: str, data: bytes) -> bool:
        """Write a small object atomically unless one is there; of racing writers exactly one gets True."""
        fs, path = self.filesystem(uri)
        if scheme(uri) == "s3":
            try:
                fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in str(error) or "At least one of the pre-conditions" in str(error):
                    return False
                raise
            return True
        spilled = _spill(path, data)
        try:
            os.link(spilled, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(spilled)
        return True


def _spill(path: str, data: bytes) -> str:
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".tmp-")
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return name


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
        storage = isinstance(error, OSError) or type(error).__module__.split(".")[0] in _STORAGE_MODULES
        if not storage:
            raise
        raise explain(error, uri, kind) from error


def explain(error: BaseException, uri: str, kind: type[EmbedlakeError]) -> EmbedlakeError:
    """One line for a person from what storage raised: which object, what is wrong, the way out."""
    text = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text or "NoSuchKey" in text:
        what = f"not found: {uri}"
        bucket = uri[5:].split("/", 1)[0]
        return kind(what + (f" (is the bucket name '{bucket}' right?)" if scheme(uri) == "s3" else ""))
    denied = ("Forbidden", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Access Denied")
    if isinstance(error, PermissionError) or any(word in text for word in denied):
        return kind(
            f"access denied: {uri} (check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the file's mode)"
        )
    if "credentials" in text.lower():
        return kind(
            f"no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    if "connect" in text.lower():
        return kind(f"cannot reach the storage of {uri} (check AWS_ENDPOINT_URL): {text[:200]}")
    return kind(f"{uri}: {type(error).__name__}: {text[:300]}")
