"""Tokens, taken out of what comes from outside before anything of it is shown, stored or logged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

CUT = "***"
_ANY = "surrogatepass"
SHORTEST = 12
"""What is shorter is no secret, and may be part of an id or a tag."""


def cut(secrets: Iterable[str], text: str) -> str:
    """The text without them; the longest first, as one may be part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, CUT)
    return text


def without(secrets: Sequence[str], body: bytes) -> bytes:
    """The JSON body without them, wherever they stand in it, however they are spelt; as it is where they do not.

    A body that holds one and is no JSON, or is too deep to be looked through, is none any more.
    """
    long = [secret for secret in secrets if len(secret) >= SHORTEST]
    holds = any(secret.encode() in body for secret in long)
    # a token is ASCII: only an escape can hide it from a look at the bytes
    if not holds and b"\\" not in body:
        return body
    try:
        return json.dumps(_cut(long, json.loads(body))).encode()
    except (ValueError, RecursionError):
        return b"" if holds else body


def _cut(secrets: Sequence[str], item: object) -> object:
    if isinstance(item, str):
        text = cut(secrets, item)
        # a row may be JSON in a text
        return without(secrets, text.encode("utf-8", _ANY)).decode("utf-8", _ANY) if text.startswith("{") else text
    if isinstance(item, list):
        return [_cut(secrets, each) for each in item]
    if isinstance(item, dict):
        return {cut(secrets, key): _cut(secrets, value) for key, value in item.items()}
    return item
