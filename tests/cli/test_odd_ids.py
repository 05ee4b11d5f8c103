"""Another column of a contact file in the place of the ids: the plan is refused, with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.model.names import Tag
from reconciler.sandbox import Running
from tests.cli.conftest import LOCATION, Command, contact_id

ROWS = [(contact_id(number), f"+49 170 555010{number}", f"K-{number}", f"49170555010{number}") for number in range(3)]


def write(project: Path, column: str) -> None:
    """The manifest, with the ids from this column of the file."""
    lines = ["contact_id,phone,number,digits", *(",".join(row) for row in ROWS)]
    (project / "manifests" / "customers.csv").write_text("\n".join(lines) + "\n")
    contacts = f"{{file: customers.csv, column: {column}}}"
    text = f"location: {LOCATION}\ncontact_sets:\n  customers:\n    contacts: {contacts}\n    tags: [customer]\n"
    (project / "manifests" / "acme.yaml").write_text(text)


@pytest.mark.slow
def test_another_column_in_the_place_of_the_ids_is_refused(
    project: Path, sandbox: Running, reconciler: Command
) -> None:
    def holders() -> int:
        return sandbox.do(lambda world, _now: sum(Tag("customer") in each.tags for each in world.contacts.values()))

    write(project, "contact_id")
    assert (reconciler("apply", "--auto-approve").code, holders()) == (0, 3)
    write(project, "number")
    for command in (("plan",), ("apply", "--auto-approve")):
        ended = reconciler(*command)
        said = " ".join((ended.out + ended.err).split())
        assert ended.code == 5, command
        assert (
            "it would take 'customer' from 3 contacts and give it to 3 ids that HighLevel cannot have issued "
            "(an id has 20 letters and digits), such as 'K-0', 'K-1', 'K-2'; "
            "is the column of the ids the right one?"
        ) in said
        assert "--allow odd_ids:tag=customer --reason" in said
    assert holders() == 3, "nothing was sent"
    meant = ("--allow", "odd_ids:tag=customer", "--reason", "a test account")
    assert reconciler("plan", *meant).code == 0


def test_numbers_that_may_be_phones_are_refused_and_not_repeated(project: Path, reconciler: Command) -> None:
    write(project, "contact_id")
    assert reconciler("apply", "--auto-approve").code == 0
    write(project, "phone")
    ended = reconciler("plan")
    assert ended.code == 1
    assert "manifests/customers.csv:2: a phone number where a contact id is needed" in ended.err
    write(project, "digits")
    refused = reconciler("plan")
    assert refused.code == 5
    assert "ids that HighLevel cannot have issued" in " ".join((refused.out + refused.err).split())
    assert "555010" not in ended.out + ended.err + refused.err
