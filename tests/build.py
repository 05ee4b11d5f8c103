"""Tiny builders, so that a test reads like a sentence: tags and contacts are words of one text.

What has blanks in it stands by itself, in a list. `name` makes an id that HighLevel could have issued of a short name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_columns import ContactColumn
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.manifest import (
    Authority,
    Combined,
    ContactSet,
    ListedContacts,
    Manifest,
    OnLeave,
    SetUse,
    TagRule,
    TagUse,
)
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, TagSet
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.model.state_fields import build_state, state_fields, written_fields
from reconciler.core.planning.batches import Solver
from reconciler.core.planning.changes import Diff, Selection
from reconciler.core.planning.plan import LocationState, PlanOptions
from reconciler.core.planning.tag_aliases import make_spelling
from reconciler.cover import solve
from reconciler.sandbox.people import LocationField, Person
from reconciler.sandbox.world import Contact

LINEAGE = "00000000-0000-4000-8000-000000000000"
HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
NOW = Instant(1_795_000_000_000)
DAY = 86_400_000
SETTLE = 90_000
PLACE = Source("acme.yaml", 1, 1)


Words = str | Iterable[str]


def words(text: Words) -> tuple[str, ...]:
    return tuple(text.split() if isinstance(text, str) else text)


def tags(text: Words) -> TagSet:
    return frozenset(map(Tag, words(text)))


def ids(text: Words) -> tuple[ContactId, ...]:
    return tuple(map(ContactId, words(text)))


def name(text: str) -> ContactId:
    """A contact id that could be one, made of a short name."""
    return ContactId((text * 20)[:20])


def who(text: Words) -> str:
    """The ids of short names, as words of one text."""
    return " ".join(map(name, words(text)))


def contact(
    text: str, carried: Words = "", *, location: LocationId = HERE, deleted: bool = False, person: Person | None = None
) -> Contact:
    """A contact of the emulated location, which carries these tags since yesterday."""
    since, gone = Instant(NOW - DAY), NOW if deleted else None
    return Contact(name(text), location, tags(carried), since, since, gone, person=person or Person())


CUSTOMER_FIELD = LocationField(name("Field"), "Customer number", "contact.customer_no")


def location_field(key: str, kind: str = "TEXT") -> LocationField:
    """A custom field called by its key."""
    return LocationField(name(f"Field{key}"), key.title(), f"contact.{key}", kind)


def person(
    emails: Words = "",
    phones: Words = "",
    customer_no: str = "",
    fields: Mapping[str, str] | None = None,
    **details: str,
) -> Person:
    """Reached by these e-mails and phones: the first of each, and additional ones.

    `fields`: by their keys; of a text box by that of its field, a full stop, and its id.
    """
    email, *more_emails = words(emails) or ("",)
    phone, *more_phones = words(phones) or ("",)
    custom = {_value_place(key): value for key, value in (fields or {}).items()}
    custom |= {CUSTOMER_FIELD.id: customer_no} if customer_no else {}
    return Person(email, tuple(more_emails), phone, tuple(more_phones), custom, details)


def _value_place(key: str) -> str:
    field, dot, option = key.partition(".")
    return f"{location_field(field).id}{dot}{option}"


def many(number: int, prefix: str = "c") -> str:
    """`c0 c1 c2 …`"""
    return " ".join(f"{prefix}{index}" for index in range(number))


def names(text: str) -> tuple[SetUse, ...]:
    return tuple(SetUse(SetName(name), PLACE) for name in text.split())


def union(text: str, *, minus: str = "", only: str = "") -> Combined:
    """The contacts of other sets."""
    return Combined(names(text), names(minus), names(only), PLACE)


def uses(text: Words, place: Source = PLACE) -> tuple[TagUse, ...]:
    return tuple(TagUse(Tag(tag), tag, place) for tag in words(text))


def a_set(
    name: str,
    contacts: Words | Combined,
    text: Words = "",
    *,
    absent: Words = "",
    ignore: str = "",
    place: Source = PLACE,
    authority: Authority | None = None,
    on_leave: OnLeave = OnLeave.REMOVE,
    start: int | None = None,
    until: int | None = None,
) -> ContactSet:
    """A contact set that declares the tags of `text`."""
    return ContactSet(
        name=SetName(name),
        source=place,
        contacts=contacts if isinstance(contacts, Combined) else ListedContacts(ids(contacts), place),
        tags=uses(text, place),
        absent=uses(absent, place),
        authority=authority,
        ignore=tuple(ignore.split()),
        on_leave=on_leave,
        start=None if start is None else Instant(start),
        until=None if until is None else Instant(until),
    )


def a_rule(tag: str, **properties: Any) -> TagRule:
    return TagRule(Tag(tag), PLACE, **properties)


def rules(*given: TagRule) -> dict[Tag, TagRule]:
    return {rule.tag: rule for rule in given}


def a_manifest(
    *sets: ContactSet,
    rule: Iterable[TagRule] = (),
    path: str = "acme.yaml",
    authority: Authority | None = None,
    location: LocationId = HERE,
) -> Manifest:
    return Manifest(path, location, Source(path), sets, rules(*rule), authority)


def declare(
    *sets: ContactSet,
    rule: Iterable[TagRule] = (),
    shared: Iterable[TagRule] = (),
    now: int = NOW,
    location: LocationId = HERE,
) -> Desired:
    """What one manifest of these sets comes to."""
    return resolve([a_manifest(*sets, rule=rule, location=location)], now=Instant(now), shared_rules=rules(*shared))


def contact_state(
    observed: TagSet | None = None,
    observed_at: Instant | None = None,
    origin: ObservationOrigin = ObservationOrigin.NEVER,
    **fields: object,
) -> ContactState:
    """A contact's state by the fields that formats write: a short way to name parts."""
    if observed is not None and observed_at is None:
        observed_at, origin = Instant(NOW - DAY), ObservationOrigin.WRITE
    return build_state({"observed": observed, "observed_at": observed_at, "origin": origin, **fields})


def fields_of(state: ContactState) -> dict[str, Any]:
    """Every field of the state by its name."""
    return {field.name: value for field, value in state_fields(state)}


def changed_state(state: ContactState, **fields: object) -> ContactState:
    """The state with other values of some fields."""
    return build_state(written_fields(state) | fields)


def carries(
    text: str = "",
    *,
    ledger: str = "",
    kept: str = "",
    doubt: str = "",
    quarantine: Rejection | None = None,
    at: int = NOW - DAY,
) -> ContactState:
    """A contact observed with exactly these tags."""
    return contact_state(
        observed=tags(text),
        observed_at=Instant(at),
        origin=ObservationOrigin.WRITE,
        ledger=tags(ledger),
        kept=tags(kept),
        doubt=tags(doubt),
        doubt_at=Instant(at) if doubt else None,
        quarantine=quarantine,
        quarantined_at=Instant(at) if quarantine else None,
    )


def unseen(*, ledger: str = "", kept: str = "", doubt: str = "", quarantine: Rejection | None = None) -> ContactState:
    """A contact that was never observed."""
    return contact_state(
        ledger=tags(ledger),
        kept=tags(kept),
        doubt=tags(doubt),
        doubt_at=Instant(NOW - DAY) if doubt else None,
        quarantine=quarantine,
        quarantined_at=Instant(NOW - DAY) if quarantine else None,
    )


def state(**contacts: ContactState) -> ContactStates:
    return state_of({ContactId(contact): known for contact, known in contacts.items()})


def state_of(contacts: Mapping[ContactId, ContactState]) -> ContactStates:
    observed = ContactStates()
    observed.update(contacts)
    return observed


def loaded(observed: ContactStates, *, serial: int = 1, aliases: Iterable[tuple[str, str]] = ()) -> LocationState:
    """A state as its store gives it, where the location keeps tags otherwise than they were sent."""
    facts = LocationFacts().with_aliases((Tag(sent), Tag(back)) for sent, back in aliases)
    spelt = make_spelling(facts.aliases)
    return LocationState(HERE, LINEAGE, serial, spelt.spell_states(observed), {}, facts, spelt)


def column_of(
    rows: Iterable[tuple[ContactId, int]], integers: Mapping[int, int], numbered: ContactNumbers
) -> ContactColumn:
    """What these rows tell of their contacts, as `ContactNumbers.put_rows` reads them."""
    column = array("i", [ABSENT]) * len(numbered)
    numbered.put_rows(column, rows, integers)
    return ContactColumn(numbered, column)


def only(*, tag: str = "", sets: str = "", retry_held: bool = False, retry_rejected: bool = False) -> Selection:
    return Selection(frozenset(map(SetName, sets.split())), tags(tag), retry_held, retry_rejected)


def changes(found: Diff) -> dict[str, set[str]]:
    """Per contact, such as {"anna": {"+vip declared", "-trial absent"}}."""
    return {
        contact: {
            f"{'+' if change.action is Action.ADD else '-'}{change.tag} {change.reason}" for change in delta.changes
        }
        for delta in found.deltas
        for contact in delta.contacts
    }


def postponed(found: Diff) -> dict[str, set[str]]:
    """Per contact, such as {"anna": {"until_observed: trial vip"}}."""
    result: dict[str, set[str]] = {}
    for each in found.deferrals:
        for contact in each.contacts:
            result.setdefault(contact, set()).add(f"{each.reason.name.lower()}: {' '.join(each.tags)}".rstrip())
    return result


def held(found: Diff) -> dict[str, str]:
    return {contact: " ".join(each.tags) for each in found.held for contact in each.contacts}


def quarantined(found: Diff) -> dict[str, str]:
    return {contact: each.why for each in found.quarantined for contact in each.contacts}


def recorded(found: Diff) -> dict[str, str]:
    """Per contact, what enters and leaves the ledger and what of it is kept: `+vip -trial =gold`."""
    result: dict[str, str] = {}
    for each in found.ledger:
        words = (*(f"+{tag}" for tag in each.adopted), *(f"-{tag}" for tag in each.released))
        text = " ".join((*words, *(f"={tag}" for tag in each.kept)))
        result.update(dict.fromkeys(each.contacts, text))
    return result


def plan_options(*, solve: Solver = solve, **chosen: Any) -> PlanOptions:
    """Options of a plan, with the solver that the command line hands in."""
    return PlanOptions(solve=solve, **chosen)
