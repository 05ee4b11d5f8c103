"""Rows that are asked for ahead of time: the same rows and errors, and nothing goes on behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.store.contact_blocks import ahead_of_time


@given(st.lists(st.integers() | st.none()), st.sampled_from([None, ValueError, KeyboardInterrupt, SystemExit]))
def test_items_and_their_error_come_as_they_would_without(
    items: list[int | None], error: type[BaseException] | None
) -> None:
    def make() -> Iterator[int | None]:
        yield from items
        if error is not None:
            raise error("here")

    taken: list[int | None] = []
    with ahead_of_time(make()) as made:
        if error is None:
            taken += made
        else:
            with pytest.raises(error, match="here"):
                taken.extend(made)
    assert taken == items


def test_who_leaves_early_leaves_nothing_at_work() -> None:
    """The connection is used by its own thread from there on: SQLite's answers would be mixed up."""
    made, go_on = [], threading.Event()

    def make() -> Iterator[int]:
        for number in range(1_000_000):
            made.append(number)
            yield number
            go_on.wait()

    with ahead_of_time(make()) as items:
        assert next(items) == 0
        go_on.set()
    there = len(made)
    assert there < 1_000_000
    assert "ahead" not in {thread.name for thread in threading.enumerate()}
    assert len(made) == there
