"""No error of the loader repeats the address, the number or another value of a person, wherever it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source
from reconciler.loading import load
from tests.privacy import Scanner

LOCATION = "location: asdrwHvLUxlfw5SqKVCN\n"
MARK, DIGITS = "xqvzjwkfpb", "5550123"
ADDRESSES = [f"anna.{MARK}@example.com", f"two@@{MARK}.com", f"+49 170 {DIGITS}", f"+4917{DIGITS}"]
OTHERS = [f"4917{DIGITS}", f"Anna {MARK}", f"0170-{DIGITS}", f"4.917{DIGITS}E+11"]
SCANNER = Scanner([MARK, DIGITS])
LISTED = ";".join([*ADDRESSES, *OTHERS])
TABLE = f'id,mail,tags\nqFSqySFkVvNzOSqgGqFi,x,"{LISTED}"\n'

_OF_VALUES = """
@
{filter: @}
{filter: {email: @}}
{filter: {all: @}}
{filter: {all: [@]}}
{filter: {not: @}}
{filter: {dnd: {eq: @}}}
{filter: {dateAdded: {after: @}}}
{filter: {dateOfBirth: {exists: @}}}
{filter: {field: points, gt: @}}
{filter: {field: points, exists: @}}
{filter: {city: {eq: [@]}}}
{filter: {city: {eq: {is: @}}}}
{filter: {email: {contains: @}}}
{filter: {all: [{city: {eq: a}}], email: @}}
{email: @}
{file: people.csv, match: @}
{file: people.csv, match: {email: [@]}}
{file: people.csv, where: @}
{file: people.csv, where: {mail: {is: @}}}
{file: people.csv, where: {mail: [@]}}
{file: people.csv, match: {email: mail}, region: @}
{file: people.csv, match: {email: mail}, max_age: @}
{file: people.csv, where: {tags: @}}
{sets: @}
{sets: [[@]]}
"""
"""Places of a contact set where no name of ours stands."""
_OF_NAMES = """
{@: x}
[@, @]
[[@], @]
{filter: {@: {eq: x}}}
{filter: {@: x, city: {eq: a}}}
{filter: {field: @}}
{filter: {city: {@: x}}}
{file: @}
{file: @, match: {email: mail}}
{file: people.csv, column: @}
{file: people.csv, match: {email: @}}
{file: people.csv, match: {@: mail}}
{file: people.csv, match: {field: @}}
{file: people.csv, where: {@: x}}
{sets: [@]}
{source: @}
"""
"""Places where a name stands, which an error may repeat unless it is an address or a number."""
OF_VALUES, OF_NAMES = _OF_VALUES.split("\n")[1:-1], _OF_NAMES.split("\n")[1:-1]


def told(directory: Path, manifest: str) -> str:
    (directory / "acme.yaml").write_text(manifest, encoding="utf-8")
    try:
        return "\n".join(map(str, load(str(directory)).problems))
    except InvalidInput as error:
        return str(error)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("places", "values"), [(OF_VALUES, ADDRESSES + OTHERS), (OF_NAMES, ADDRESSES)])
def test_no_error_repeats_what_tells_a_person(manifests: Path, places: list[str], values: list[str]) -> None:
    for nth, place in enumerate(places):
        # each value stands in many places, and each place has two of them
        for value in (values[nth % len(values)], values[(nth + 3) % len(values)]):
            contacts = f"'{value}'".join(place.split("@"))
            text = told(manifests, f"{LOCATION}contact_sets:\n  a:\n    contacts: {contacts}\n    tags: [x]\n")
            assert not SCANNER.search(text.encode()), (contacts, text)


@pytest.mark.parametrize("value", ADDRESSES + OTHERS)
def test_nor_does_one_of_a_set_or_a_file_without_its_colons(manifests: Path, value: str) -> None:
    for body in (
        f"contact_sets:\n  a:\n    contacts:[{value}]\n    tags:[x]\n",
        f"contact_sets: {value}\n",
        f"contact_sets:\n  a: {value}\n",
        f"contact_sets:\n  a: {{contacts: [{value}], tags: [x]}}\n",
        f"contact_sets:\n  a: {{contacts: [{value}, {value}], tags: [x]}}\n",
    ):
        text = told(manifests, LOCATION + body)
        assert not SCANNER.search(text.encode()), (body, text)


def test_a_problem_withholds_addresses_wherever_they_stand_and_nothing_else() -> None:
    problem = Problem(Source("a.yaml", 1), f"no set 'anna.{MARK}@example.com'", "x", hint=f"call +49 170 {DIGITS}, +x")
    assert problem.message == "no set '(not shown)'"
    assert problem.hint == "call (not shown), +x"
    plain = "a text that begins with '@' needs quotes: '@vip'; 1.23E+19, 2026-12-31T10:00:00+01:00, 12,345 rows"
    assert Problem(Source("a.yaml", 1), plain, "x").message == plain
