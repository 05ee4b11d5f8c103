"""Differences of nested values in words: the home of deepdiff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deepdiff import DeepDiff
from deepdiff.helper import NotPresent

from reconciler.core.manifests.compare_revisions import SettingMove


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[SettingMove, ...]:
    """What differs between two trees of plain values, sorted by dotted key."""
    found = DeepDiff(before, after, view="tree", verbose_level=2)
    moves = (move for kind in found.values() for level in kind for move in _moves(level))
    return tuple(sorted(moves, key=lambda move: move.key))


def _moves(level: Any) -> Iterator[SettingMove]:
    key = ".".join(str(part) for part in level.path(output_format="list"))
    before, after = level.t1, level.t2
    tree = next((side for side in (before, after) if isinstance(side, Mapping) and side), None)
    if tree is None or (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield SettingMove(key, _text(before), _text(after))
        return
    # a whole branch came or went: tell its leaves
    for name, value in tree.items():
        gone = tree is before
        yield SettingMove(f"{key}.{name}", _text(value) if gone else None, None if gone else _text(value))


def _text(value: Any) -> str | None:
    if isinstance(value, NotPresent) or value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
