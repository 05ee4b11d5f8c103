"""Names as text: the one that was probably meant."""

from __future__ import annotations

import pytest

from reconciler.core.model.names import closest_name


@pytest.mark.parametrize(("known", "meant"), [(500, "customer-7"), (501, "")])
def test_among_too_many_names_none_is_looked_for(known: int, meant: str) -> None:
    """Else a typing error beside a million ids would take minutes."""
    assert closest_name("custommer-7", [f"customer-{number}" for number in range(known)]) == meant
