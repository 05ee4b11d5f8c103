"""Checks of matched sets, which have the contacts of their last pull; `list_unplannable` for who plans by them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.model.contact_filter import list_conditions
from reconciler.core.model.errors import Problem
from reconciler.core.model.manifest import ContactSet, ListedContacts, Manifest
from reconciler.core.model.names import Instant, SetName, iso
from reconciler.core.model.people import Match


def pull_command(name: SetName) -> str:
    """The command that makes a set's snapshot anew."""
    return f"reconciler pull --set {shlex.quote(name)}"


def matched_sets(sets: Iterable[ContactSet]) -> Iterator[tuple[ContactSet, Match]]:
    """The sets whose people are matched."""
    for contact_set in sets:
        if isinstance(contact_set.contacts, ListedContacts) and contact_set.contacts.match is not None:
            yield contact_set, contact_set.contacts.match


def missing_snapshots(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sets that were never pulled; says nothing where the snapshots are in a state that was not asked, or not read."""
    if not manifests.snapshots_known:
        return
    for location in manifests.locations:
        if location.location not in manifests.unread:
            yield from _find_in(location, manifests.now, _find_missing)


Find = Callable[[ContactSet, Match, Instant | None], Iterator[CheckFinding]]


def find_all(manifests: Manifests, find: Find) -> Iterator[CheckFinding]:
    for location in manifests.locations:
        yield from _find_in(location, manifests.now, find)


def _find_in(location: Location, now: Instant | None, find: Find) -> Iterator[CheckFinding]:
    for contact_set, match in matched_sets(location.all_sets()):
        yield from find(contact_set, match, now)


def _find_missing(contact_set: ContactSet, match: Match, _: Instant | None) -> Iterator[CheckFinding]:
    if match.snapshot is None:
        names = f"its {'file' if match.query is None else 'source'} names"
        # a filter names no contacts: it finds them
        which = names if match.filter is None else "meet its filter"
        message = f"contact set {contact_set.name!r} has no snapshot: which contacts {which} is not known"
        yield _finding(contact_set, message, pull_command(contact_set.name))


def find_empty(contact_set: ContactSet, match: Match, _: Instant | None) -> Iterator[CheckFinding]:
    if match.snapshot is not None and not match.snapshot.contacts and not contact_set.allow_empty:
        did = "was matched" if match.filter is None else "met its filter"
        pulled = f"none {did} when it was pulled, at {iso(match.snapshot.as_of)}"
        message = f"contact set {contact_set.name!r} has no contacts: {pulled}"
        yield _finding(contact_set, message, "if that is meant, say so: allow_empty: true")


def find_expired(contact_set: ContactSet, match: Match, now: Instant | None) -> Iterator[CheckFinding]:
    ends = match.expires_at
    if match.snapshot is not None and ends is not None and now is not None and ends <= now:
        name, at = contact_set.name, iso(match.snapshot.as_of)
        message = f"contact set {name!r} was pulled at {at}, and is too old since {iso(ends)}, by its max_age"
        yield _finding(contact_set, message, pull_command(name))


def find_outdated(contact_set: ContactSet, match: Match, _: Instant | None) -> Iterator[CheckFinding]:
    if match.snapshot is not None and match.is_outdated:
        name, at = contact_set.name, iso(match.snapshot.as_of)
        what = "file or its match" if match.query is None else "source, or how its rows are read,"
        what = what if match.filter is None else "filter"
        message = f"contact set {name!r} was pulled at {at}, and its {what} has changed since"
        yield _finding(contact_set, message, pull_command(name))


def find_addresses(contact_set: ContactSet, match: Match, _: Instant | None) -> Iterator[CheckFinding]:
    for condition in () if match.filter is None else list_conditions(match.filter):
        if condition.is_personal:
            message = (
                f"the filter of contact set {contact_set.name!r} asks for the address or the number of a person: "
                "whoever reads the repository has it"
            )
            hint = "people stand in a file, which may be kept elsewhere: {file: people.csv, match: {email: mail}}; "
            hint += f"no plan tells when another address is asked for: {pull_command(contact_set.name)}"
            yield CheckFinding(condition.source, message, hint)


def unused_sources(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sources that no set has its contacts from; says nothing where manifests were left out or could not be read."""
    if not manifests.complete or manifests.broken or manifests.elsewhere:
        return
    sets = chain.from_iterable(location.all_sets() for location in manifests.locations)
    used = {match.query.name for _, match in matched_sets(sets) if match.query is not None}
    for name, place in manifests.queries.items():
        if name not in used:
            hint = f"name it in a set: contacts: {{source: {name}}}"
            yield CheckFinding(place, f"source {name!r} is declared, and no contact set uses it", hint)


def _finding(contact_set: ContactSet, message: str, hint: str) -> CheckFinding:
    assert isinstance(contact_set.contacts, ListedContacts)
    return CheckFinding(contact_set.contacts.source, message, hint)


_REFUSED: tuple[tuple[str, Find], ...] = (
    ("snapshot-missing", _find_missing),
    ("snapshot-empty", find_empty),
    ("snapshot-expired", find_expired),
)


def list_unplannable(manifests: Iterable[Manifest], now: Instant) -> tuple[Problem, ...]:
    """The sets whose contacts are not known well enough to plan by, an error each."""
    return tuple(
        Problem(finding.source, finding.message, check, hint=finding.hint)
        for manifest in manifests
        for contact_set, match in matched_sets(manifest.sets)
        for check, find in _REFUSED
        for finding in find(contact_set, match, now)
    )
