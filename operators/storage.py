"""Object storage behind fsspec: URIs, atomic small puts, and errors that a person understands."""

from __future__ import annotations

import os
import posixpath
import uuid
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
_NOT_CREATED = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_STORAGE_MODULES = frozenset({"botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec"})


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
        env = os.environ
        return self.config.endpoint_url or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")

    @property
    def region(self) -> str | None:
        """The S3 region: the config's, else the AWS environment's; botocore alone ignores `AWS_REGION`."""
        env = os.environ
        return self.config.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")

    def filesystem(self, uri: str) -> tuple[AbstractFileSystem, str]:
        """The filesystem of a URI and the path in it."""
        if scheme(uri) != "s3":
            return fsspec.filesystem("file"), uri.removeprefix("file://")
        client: dict[str, Any] = {"region_name": self.region} if self.region else {}
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
        options = {"aws_region": self.region or "us-east-1"}
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
        """The sorted names of the objects directly below a prefix; none when there is no such prefix.

        Raises:
            FileNotFoundError: there is no such bucket.
        """
        fs, path = self.filesystem(uri)
        try:
            return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False))
        except FileNotFoundError as error:
            if _s3_code(error) == "NoSuchBucket":
                raise
            return []

    def put(self, uri: str, data: bytes) -> None:
        """Write a small object atomically: a reader sees the old one or the new one."""
        fs, path = self.filesystem(uri)
        if scheme(uri) == "s3":
            fs.pipe_file(path, data)
            return
        os.replace(_spill(path, data), path)

    def put_if_absent(self, uri: str, data: bytes) -> bool:
        """Write a small object atomically unless one is there; of racing writers at most one gets True."""
        fs, path = self.filesystem(uri)
        if scheme(uri) == "s3":
            try:
                fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _s3_code(error) in _NOT_CREATED:
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


def _s3_code(error: BaseException) -> str | None:
    response = getattr(error.__cause__ or error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code) if code else None


def _spill(path: str, data: bytes) -> str:
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f".tmp-{uuid.uuid4().hex}"
    # Not `mkstemp`: its mode 0600 would lock other users out of the lake.
    with open(name, "xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return str(name)


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
