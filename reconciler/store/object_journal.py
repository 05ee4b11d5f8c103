"""The journal of a location in a bucket: one chain of numbered objects, and the snapshot that stands for its beginning.

Each object is one call that changed the state. A change is made by putting the next object where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from reconciler.core.model.errors import StateCorrupted, StateTooNew
from reconciler.store.bucket import Bucket, StoredObject
from reconciler.store.database import Undecodable
from reconciler.store.object_codec import Call, UnreadableObject, decode

READERS = 16
_RESTORE = "restore the snapshot and its journal together from a backup of the bucket"


class Taken(Exception):
    """Another call has the next number."""


class Chain:
    """`name` is what people know it by."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self.name = f"{bucket.name}/{folder}"
        self._snapshot = f"{folder}/state.db"

    def key(self, position: int) -> str:
        return f"{self._folder}/journal/{position:012}.json"

    def after(self, position: int) -> Sequence[str]:
        """The keys of the objects behind that one, in their order."""
        return self._bucket.keys(f"{self._folder}/journal", after=self.key(position))

    def contents(self, keys: Sequence[str]) -> list[bytes | None]:
        """None for what has gone since."""
        if len(keys) < 2:
            return [_content(self._bucket.get(key)) for key in keys]
        with ThreadPoolExecutor(min(READERS, len(keys))) as threads:
            return [_content(found) for found in threads.map(self._bucket.get, keys)]

    def put(self, position: int, content: bytes) -> None:
        """Raises Taken where there is another one."""
        key = self.key(position)
        # it may be our own, where the answer to an earlier attempt was lost
        if self._bucket.create(key, content) is None and _content(self._bucket.get(key)) != content:
            raise Taken

    def delete(self, positions: Sequence[int]) -> None:
        self._bucket.delete([self.key(each) for each in positions])

    def snapshot_version(self) -> str | None:
        return self._bucket.version(self._snapshot)

    def snapshot(self) -> StoredObject:
        found = self._bucket.get(self._snapshot)
        if found is None:
            raise StateCorrupted(f"the state {self.name}/state.db has gone", hint="restore it from a backup")
        return found

    def put_snapshot(self, content: bytes, version: str | None) -> str | None:
        """In place of that version, None for none; the new version, None where another one is there."""
        if version is None:
            return self._bucket.create(self._snapshot, content)
        return self._bucket.replace(self._snapshot, content, version)

    def decoded(self, key: str, content: bytes) -> Call:
        try:
            return decode(content)
        except UnreadableObject as error:
            raise self.too_new(key, str(error)) from error
        except Undecodable as error:
            raise StateCorrupted(f"the state {self._bucket.name}/{key} is damaged: {error}", hint=_RESTORE) from error

    def too_new(self, key: str, what: str) -> StateTooNew:
        return StateTooNew(
            f"{self._bucket.name}/{key} holds {what}, which this reconciler does not know",
            hint="upgrade reconciler to at least the version that wrote it",
        )

    def has_a_hole(self, position: int) -> StateCorrupted:
        """The error where the object of that number is missing."""
        return StateCorrupted(
            f"the state {self.name} is damaged: journal object {self.key(position)} is missing", hint=_RESTORE
        )


def _content(found: StoredObject | None) -> bytes | None:
    return found.content if found else None
