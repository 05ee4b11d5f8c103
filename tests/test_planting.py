"""Which functions a planted bug changes; that it is noticed where it is planted, the tests of bugs show."""

from __future__ import annotations

import pytest

from tests.planting import find_changed

BEFORE = """
LIMIT = 1
class Reader:
    @property
    def limit(self):
        return [each for each in (1, 2)]
def read(limit=LIMIT):
    return limit
"""
CASES = {
    "nothing": ("", "\n", []),
    "a method, within a comprehension": ("(1, 2)", "(1, 3)", ["Reader.limit"]),
    "a function": ("return limit", "return limit + 1", ["read"]),
    "a constant": ("LIMIT = 1", "LIMIT = 2", None),
    "a default": ("limit=LIMIT", "limit=7", None),
    "a decorator": ("@property", "@staticmethod", None),
    "a function more": ("def read", "def write(): pass\ndef read", None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_functions_that_a_bug_changes_are_found_or_it_is_told_that_it_changes_more(name: str) -> None:
    old, new, changed = CASES[name]
    text = BEFORE.replace(old, new, 1)
    found = find_changed(compile(BEFORE, "it", "exec"), compile(text, "it", "exec"))
    assert (None if found is None else [name for name, _ in found]) == changed
