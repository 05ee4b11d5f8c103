"""The command line in a report: as it was typed, but for secrets, wherever they stand."""

from __future__ import annotations

import shlex

import pytest

from reconciler.core.model.safe_text import command_line

SECRET = "s3cr/et?&=:#@ x"


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "--state", f"postgresql://crm:{SECRET}@db/tags"],
        ["plan", f"--state=postgresql://crm:{SECRET}@db/tags"],
        ["plan", "--state", f"postgresql://{SECRET}@db/tags"],
        ["plan", "--state", "postgresql://db/tags?user=crm&password=s3cr/et"],
        ["plan", "--state", "s3://bucket/tags?secret_access_key=s3cr/et&region=eu"],
        ["plan", "--reason", "pit-5f0c1a2b-3c4d-4e6f-8a8b-0123456789ab", "x"],
        ["plan", "--reason", "the token is eyJhbGciOiJIUzI1NiJ9.s3cret.s3cr-et"],
    ],
)
def test_no_secret_is_in_it(arguments: list[str]) -> None:
    told = command_line(arguments)
    assert "s3cr" not in told
    assert "5f0c1a2b" not in told
    assert "eyJ" not in told
    assert "***" in told
    assert shlex.split(told)[:2] == ["reconciler", "plan"]


def test_what_is_no_secret_is_as_it_was_typed() -> None:
    typed = [
        "apply",
        "a b/",
        "--tag",
        "it's",
        "--state",
        "sqlite:///.reconciler/state.db",
        "--reason",
        "mail a@b.example",
    ]
    assert shlex.split(command_line(typed)) == ["reconciler", *typed]
