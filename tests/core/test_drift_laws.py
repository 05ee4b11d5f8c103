"""Laws of drift: what is told of a million contacts by the few thousand cases of them is what each would tell alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.wants import NOTHING
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, SetName, Tag
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import find_drift
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.diff import owned_in, select_contacts
from tests.build import NOW, loaded, state_of
from tests.core.test_diff_laws import World, worlds

TOLD = (DriftClass.TOLERATED, DriftClass.FOREIGN, DriftClass.UNOBSERVED, DriftClass.STALE)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    sets = draw(st.frozensets(st.sampled_from(("s0", "s1")).map(SetName)))
    return Selection(sets, draw(st.frozensets(st.sampled_from(("a", "z")).map(Tag))))


def _told_of(world: World, selection: Selection, contact: ContactId) -> set[tuple[DriftClass, str, str]]:
    """The plain version: one contact, looked at by itself."""
    desired, observed = world.desired, state_of(world.observed)
    index = desired.contacts.get(contact)
    want, known = desired.wants[index] if index is not None else NOTHING, observed[contact]
    chosen = set(select_contacts(desired, selection))
    told: set[tuple[DriftClass, str, str]] = set()
    if contact in chosen and known.observed is None and known.quarantine is None:
        told.add((DriftClass.UNOBSERVED, "", contact))
    if contact in chosen and known.observed is not None and known.observed_at is not None and known.observed_at < NOW:
        told.add((DriftClass.STALE, "", contact))
    owned = owned_in(desired, observed, selection)
    kept = want.present.keys() | want.absent.keys() | known.ledger.tags | known.doubtful
    for tag in (
        filter(selection.takes, (known.observed or frozenset()) - kept) if _is_told(selection, chosen, contact) else ()
    ):
        if want.authority is Authority.ADDITIVE or (want.authority is Authority.OWNED and tag not in owned):
            told.add((DriftClass.TOLERATED if tag in owned else DriftClass.FOREIGN, tag, contact))
    return told


def _is_told(selection: Selection, chosen: set[ContactId], contact: ContactId) -> bool:
    return contact in chosen or not selection.sets


@given(worlds(), selections())
def test_a_report_tells_of_each_contact_what_it_would_tell_alone(world: World, selection: Selection) -> None:
    states = state_of(world.observed)
    report = find_drift(world.desired, loaded(states), selection=selection, now=NOW, stale_before=NOW, foreign=True)
    told = [
        (each.drift, str(each.tag), str(contact))
        for each in report.drifted
        for contact in each.contacts
        if each.drift in TOLD
    ]
    contacts = {*world.observed, *world.desired.contacts}
    assert sorted(told) == sorted(set().union(*(_told_of(world, selection, contact) for contact in contacts)))
    times = [
        known.observed_at
        for contact in select_contacts(world.desired, selection)
        if (known := world.observed.get(contact, ContactState())).observed is not None
    ]
    assert (report.observed, report.oldest, report.newest) == (
        len(times),
        min(filter(None, times), default=None),
        max(filter(None, times), default=None),
    )
