"""Switches as people write them."""

from __future__ import annotations

from dataclasses import fields

import pytest

from reconciler.core.model.errors import UsageError
from reconciler.sandbox.assumptions import Assumptions, Merged, list_switches, read_assumptions

USUAL = Assumptions()


def test_every_switch_is_listed_and_takes_its_own_default() -> None:
    switches = list(list_switches())
    assert [switch.name for switch in switches] == sorted(member.name for member in fields(Assumptions))
    assert read_assumptions([f"{switch.name}={switch.default}" for switch in switches], USUAL) == USUAL


def test_values_of_each_kind_are_read_and_the_last_of_a_name_rules() -> None:
    given = ["max_tags=10", "trims_tags=false", "merged_row=under-survivor", "unknown_contact=a=b", "max_tags=9"]
    expected = Assumptions(max_tags=9, trims_tags=False, merged_row=Merged.UNDER_SURVIVOR, unknown_contact="a=b")
    assert read_assumptions(given, USUAL) == expected


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("max_tag=1", "the sandbox has no switch 'max_tag'", "did you mean 'max_tags'?"),
        ("qqqq=1", "the sandbox has no switch 'qqqq'", "`reconciler sandbox serve --help` lists the switches"),
        ("max_tags", "--assume max_tags has no value, and takes a number from 1", "as in --assume max_tags=50"),
        ("max_tags=0", "--assume max_tags has '0', and takes a number from 1", "as in --assume max_tags=50"),
        ("max_tags=-1", "has '-1'", "as in"),
        ("max_tags=" + "9" * 5_000, "and takes a number from 1", "as in"),
        ("max_tags=\u0663", "and takes a number from 1", "as in"),
        ("max_tags=1000000000000", "takes a number from 1 to 1000000", "as in --assume max_tags=50"),
        ("search_lag_ms=1e300", "has '1e300', and takes a number from 0 to 86400000", "as in"),
        ("search_lag_ms=86400001", "takes a number from 0 to 86400000", "as in"),
        ("location_token_s=31536001", "takes a number from 1 to 31536000", "as in"),
        ("trims_tags=yes", "has 'yes', and takes true or false", "as in --assume trims_tags=true"),
        ("merged_row=no", "takes deleted or under-own-id or under-survivor", "as in --assume merged_row=deleted"),
        ("exchange_status=404", "takes a number from 200 to 299", "as in --assume exchange_status=201"),
        ("unknown_contact=", "has '', and takes a text", "as in"),
    ],
)
def test_a_switch_that_cannot_be_is_refused_with_what_it_takes(given: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_assumptions([given], USUAL)
    assert message in refused.value.message
    assert hint in refused.value.hint
