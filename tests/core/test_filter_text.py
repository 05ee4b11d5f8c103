"""A filter as a person reads it in a difference of two revisions: every condition, and no address."""

from __future__ import annotations

import pytest

from reconciler.core.model.contact_filter import Condition, ConditionGroup, ContactFilter, FilterOperator
from reconciler.core.model.safe_text import NOT_SHOWN

CITY = Condition("city", FilterOperator.EQ, "Bern")
MAIL = Condition("email", FilterOperator.EQ, "anna@example.org")
ADDED = Condition("dateAdded", FilterOperator.RANGE, bounds=(("gte", "2026-01-01"), ("lt", "2026-02-01")))
PLAN = Condition("plan", FilterOperator.NOT_EXISTS, is_custom=True, option="gold")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (CITY, 'city eq "Bern"'),
        (MAIL, f"email eq {NOT_SHOWN}"),
        (ADDED, "dateAdded gte 2026-01-01 and dateAdded lt 2026-02-01"),
        (PLAN, "field plan option gold not_exists"),
        (ConditionGroup((CITY, ADDED)), '(city eq "Bern" and dateAdded gte 2026-01-01 and dateAdded lt 2026-02-01)'),
        (
            ConditionGroup((CITY, ConditionGroup((MAIL, PLAN))), is_any=True),
            f'(city eq "Bern" or (email eq {NOT_SHOWN} and field plan option gold not_exists))',
        ),
        (ConditionGroup((CITY,), nested="opportunities"), 'opportunities (city eq "Bern")'),
    ],
)
def test_every_condition_is_told_and_no_address(wanted: ContactFilter, text: str) -> None:
    assert str(wanted) == text
