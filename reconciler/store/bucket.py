"""Objects under conditional writes: the Protocol of an object store, and obstore behind it.

Rules
1. Every write is conditional: put where there is nothing, or replace exactly the version that was read.
2. A store that ignores conditions is refused: two runs could hold one lease there.
3. A request that was sent again after a lost answer may find its own work: after a refusal the object is read.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import MemoryStore, ObjectStore, from_url

from reconciler.core.model.errors import StateError, UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object and the version of it that was read."""

    content: bytes
    version: str


class Bucket(Protocol):
    """Objects by key. Errors are told as StateError, with the store's name and without its secrets."""

    @property
    def name(self) -> str: ...

    def get(self, key: str) -> StoredObject | None: ...

    def version(self, key: str) -> str | None:
        """The version of the object, None where there is none."""

    def create(self, key: str, content: bytes) -> str | None:
        """The new object's version; None where there is one already."""

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        """The new version; None where it is no longer `version` that is there."""

    def keys(self, prefix: str, *, after: str = "") -> Sequence[str]:
        """The keys that begin with `prefix`, a whole part of a path, in their order."""

    def folders(self) -> Sequence[str]:
        """The first parts of the keys."""

    def delete(self, keys: Sequence[str]) -> None: ...


class Obstore:
    """A bucket, or a prefix of one, through obstore."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self.name = name

    def get(self, key: str) -> StoredObject | None:
        with self._errors():
            try:
                answer = obstore.get(self._store, key)
                return StoredObject(bytes(answer.bytes()), answer.meta["e_tag"] or "")
            except (NotFoundError, FileNotFoundError):
                return None

    def version(self, key: str) -> str | None:
        with self._errors():
            try:
                # without the content: a snapshot may have 70 MB
                return obstore.head(self._store, key)["e_tag"]
            except (NotFoundError, FileNotFoundError):
                return None

    def create(self, key: str, content: bytes) -> str | None:
        with self._errors():
            try:
                # in one part: the parts of a multipart upload carry no condition
                return obstore.put(self._store, key, content, mode="create", use_multipart=False)["e_tag"]
            except AlreadyExistsError:
                return None

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        with self._errors():
            try:
                return obstore.put(self._store, key, content, mode={"e_tag": version}, use_multipart=False)["e_tag"]
            except (PreconditionError, NotFoundError, FileNotFoundError):
                return None

    def keys(self, prefix: str, *, after: str = "") -> Sequence[str]:
        with self._errors():
            listed = obstore.list(self._store, prefix, offset=after or None).collect()
            # not every server knows an offset
            return sorted(item["path"] for item in listed if item["path"] > after)

    def folders(self) -> Sequence[str]:
        with self._errors():
            return sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def delete(self, keys: Sequence[str]) -> None:
        if keys:
            with self._errors():
                obstore.delete(self._store, list(keys))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BaseError as error:
            # a signature may stand in the address
            message = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", str(error).strip().splitlines()[0])
            raise StateError(
                f"the state {self.name} cannot be used: {message}",
                hint="see that the bucket is there and that the credentials of the environment may read and write it",
            ) from None


_WRITE = "write s3://bucket/prefix or az://container/prefix"


def open_bucket(url: str) -> Obstore:
    """The bucket of an s3:// or az:// URL, or one in memory. Parameters are obstore's: `endpoint`, `region`, …"""
    try:
        parts = urlsplit(url)
        config = dict(parse_qsl(parts.query))
        local = urlsplit(config.get("endpoint", "")).hostname in LOOPBACK
    except ValueError as error:
        raise UsageError(f"the state's URL cannot be read: {error}", hint=_WRITE) from None
    if parts.scheme == "memory":
        return Obstore(_memory(url), url)
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    options: dict[str, Any] = {
        "config": config or None,
        # plain http to this machine alone, for tests: elsewhere anyone between could read the state
        "client_options": {"timeout": "30s", "connect_timeout": "5s"} | ({"allow_http": True} if local else {}),
        # within the lease's time to live: a request that is retried longer may outlive its holder
        "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=45)},
    }
    try:
        store = from_url(parts._replace(query="").geturl(), **options)
    except (BaseError, ValueError) as error:
        message = str(error).strip().splitlines()[0].split("?")[0]
        raise UsageError(f"the state {name} cannot be opened: {message}", hint=_WRITE) from None
    return Obstore(store, name)


@cache
def _memory(_url: str) -> ObjectStore:
    """The objects under a memory:/// URL, which last as long as this process."""
    return MemoryStore()


class Trial:
    """Tries the store before its first use, once for all locations in it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._passed = False

    def __call__(self, prefix: str) -> None:
        # six requests: too many for each location of a fleet
        if not self._passed:
            probe(self._bucket, prefix)
            self._passed = True


def probe(bucket: Bucket, prefix: str) -> None:
    """Raises StateError where the store ignores the condition of a write."""
    # a key of its own, as two first runs may probe at once
    key = f"{prefix}/probe-{uuid.uuid4().hex}"
    try:
        first = bucket.create(key, b"first") or _version_of(bucket, key, b"first")
        if first is None:
            raise _refused(bucket, "it did not put an object where there was none")
        if bucket.create(key, b"second") is not None:
            raise _refused(bucket, "it put an object where there was one, though asked not to (If-None-Match)")
        second = bucket.replace(key, b"third", first) or _version_of(bucket, key, b"third")
        if second is None:
            raise _refused(bucket, "it did not replace the version that was there (If-Match)")
        if bucket.replace(key, b"fourth", first) is not None:
            raise _refused(bucket, "it replaced another version than the one it was asked to (If-Match)")
        if bucket.get(key) != StoredObject(b"third", second):
            raise _refused(bucket, "it does not return what was written last")
    finally:
        bucket.delete([key])


def _version_of(bucket: Bucket, key: str, content: bytes) -> str | None:
    """The version of the object if that is its content: our own work, where an answer was lost."""
    stored = bucket.get(key)
    return stored.version if stored is not None and stored.content == content else None


def _refused(bucket: Bucket, reason: str) -> StateError:
    return StateError(
        f"the state {bucket.name} is refused: {reason}; two runs could write at once there",
        hint="use a store with conditional writes, such as Amazon S3 or Azure Blob Storage, or PostgreSQL",
    )
