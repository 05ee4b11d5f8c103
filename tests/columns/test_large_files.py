"""Contact files of large locations: the same ids, lines and faults as where few contacts have numbers, and the same
plan.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.columns import LARGE, LargeNumbers
from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.contact_state import (
    NEVER_OBSERVED,
    ContactState,
    ContactStates,
    Ledger,
    Observation,
    ObservationOrigin,
)
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import ContactId, Source
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, combine_plans
from reconciler.loading import load
from reconciler.loading.contact_files import read_table
from reconciler.loading.contact_ids import FileRequest
from reconciler.planfile import plan_text
from tests.build import HERE, column_of, plan_options, tags
from tests.fakes import START

IDS = st.sampled_from([f"{first}{second}c" for first in "abcde" for second in "123"])
ODD = st.sampled_from(["", "ab", "a-b", "é1c", " a1c", '"a1c"', "a1c ", "a1c,x", '"a1c\nx"'])
CELLS = st.one_of(IDS, IDS, IDS, IDS, IDS, IDS, ODD)
ROWS = st.lists(CELLS, max_size=25)
FILES = st.lists(st.tuples(ROWS, st.sampled_from([".csv", ".txt"]), st.sampled_from(["\n", "\n", "\r\n"])), max_size=4)


def read(text: str, kind: str, contacts: ContactNumbers, block_bytes: int) -> object:
    """All that reading a file tells."""
    try:
        table = read_table(
            BytesIO(text.encode()), FileRequest("people" + kind, Source("m", 1)), contacts, block_bytes=block_bytes
        )
    except InvalidInput as error:
        return error.problems
    return list(table.ids), table.ids.numbers, table.lines, table.problems, table.repeated


@given(FILES, st.integers(0, 20), st.sampled_from([0, 3, 500]), st.sampled_from([1, 9, 60, 1 << 16]), st.booleans())
def test_files_are_read_alike(
    files: list[tuple[list[str], str, str]], large: int, questions: int, block_bytes: int, ends: bool
) -> None:
    plain, many = ContactNumbers(), LargeNumbers(large=large, questions=questions)
    for cells, kind, line_end in files:
        rows = ["id,city", *(f"{cell},Wien" for cell in cells)] if kind == ".csv" else cells
        text = line_end.join(rows) + line_end * ends
        assert read(text, kind, many, block_bytes) == read(text, kind, plain, block_bytes)
        assert many.ids == plain.ids


@pytest.mark.slow
def test_a_plan_of_more_contacts_than_the_plain_numbers_take_is_the_same(tmp_path: Path) -> None:
    """On contacts that are new, and on a state that has a part of what they are to have."""
    ids = [ContactId(f"{number * 48271 % 2147483647:020}") for number in range(LARGE + 9_000)]
    manifest = [f"location: {HERE}", "contact_sets:"]
    for place, every in enumerate((1, 2, 3, 5)):
        manifest.append(f"  s{place}: {{contacts: {{file: s{place}.csv}}, tags: [t{place}]}}")
        (tmp_path / f"s{place}.csv").write_text("id\n" + "\n".join(ids[::every]) + "\n")
    (tmp_path / "here.yaml").write_text("\n".join(manifest) + "\n")
    (loaded,) = load(tmp_path, now=START).manifests
    assert isinstance(loaded.contacts, LargeNumbers)
    plain_sets = tuple(
        replace(each, contacts=replace(each.contacts, ids=tuple(each.contacts.ids)))
        for each in loaded.sets
        if isinstance(each.contacts, ListedContacts)
    )
    plain = replace(loaded, sets=plain_sets, contacts=ContactNumbers())

    known = ContactState(Observation(tags("t0 t3"), START, ObservationOrigin.WRITE), Ledger(tags("t0 t3")))
    # one contact of four, and some of no set
    rows = [(contact, 7) for contact in [*ids[::4], *(ContactId(f"{number:020}") for number in range(1_000))]]

    def write(desired: Desired, *, stored: bool) -> str:
        column = column_of(rows if stored else [], {7: 1}, desired.contacts.numbered)
        observed = ContactStates(column, [NEVER_OBSERVED, known])
        plan = plan_location(desired, LocationState(HERE, observed=observed), plan_options(now=START))
        return plan_text(combine_plans([plan], as_of=START, manifests="m"))

    many, few = resolve([loaded], now=START), resolve([plain], now=START)
    assert many.digest == few.digest
    for stored in (False, True):
        assert write(many, stored=stored) == write(few, stored=stored)
    # a digest that is asked for late is none of contacts that the state has besides
    for place, manifest in enumerate((loaded, plain)):
        late = resolve([manifest], now=START)
        late.contacts.numbered.number([ContactId(f"{place}{number:019}") for number in range(2_000, 3_000)])
        late.contacts.beside(late.contacts)
        assert late.digest == few.digest
