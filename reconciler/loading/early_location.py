"""The location of a manifest, seen before the manifest is read.

Rules
1. What is seen is what a whole reading would find, or nothing is seen: then the manifest is read as a whole, and told
   whatever is wrong with it.
2. Seen is an id behind the key `location` of the outermost mapping, where nothing up to there is refused. Other keys
   may stand before it, as far as the beginning of the file goes.
"""

from __future__ import annotations

import codecs

from reconciler.core.model.names import LocationId
from reconciler.loading.fields import is_location_id
from reconciler.loading.files import is_lfs_pointer, is_sound
from reconciler.loading.nodes import find_first

HEAD = 16_384
"""So many bytes of a manifest are looked through."""


def see_location(head: bytes) -> LocationId | None:
    """The location of the manifest that begins so; None where it has to be read."""
    text, is_cut = _decode(head), len(head) >= HEAD
    if text is None or (found := find_first("location", text)) is None:
        return None
    scalar, end = found
    # a text at the cut may go on behind it
    if is_cut and not text[end:].strip():
        return None
    return LocationId(scalar.text) if is_location_id(scalar.text) else None


def _decode(head: bytes) -> str | None:
    if is_lfs_pointer(head):
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # the cut may go through a character
        text = decoder.decode(head, final=len(head) < HEAD).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
    return text if is_sound(text) else None
