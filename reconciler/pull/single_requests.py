"""Single requests of a pull: values that are looked up one by one, and contacts that are read by id.

Rules
1. A kind of value is looked up by the request that finds a contact by a value which the location has shown of it.
2. A reading that fails proves nothing of its contact; ten in a row that are not there end the reading, and are not
   believed, unless others that a search shows are there: then the cause is not the contacts.
3. A contact that is answered as another one was merged into it: it has its values no more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.control_read import Absences, read_people_to_control
from reconciler.core.model.errors import InDoubt, RequestRefused, Unread
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.people import Fingerprint, LookUp, PeopleLot, PersonValue, ValueKind
from reconciler.ports import PeopleReader
from reconciler.request_gate import RequestGate, run_jobs
from reconciler.wire_people import PersonRead, can_look_up

AT_ONCE = 20

Values = frozenset[Fingerprint]


@dataclass(frozen=True, slots=True)
class PullServices:
    """The parts of the outside world that a pull uses, for one location."""

    reader: PeopleReader
    gate: RequestGate
    fingerprint: Callable[[PersonValue], Fingerprint | None]
    """None for a value that cannot be one of a person."""
    keep: Callable[[PeopleLot], Awaitable[None]]
    """Takes each lot, before the next request."""

    @property
    def location(self) -> LocationId:
        return self.gate.location

    def fingerprints(self, person: PersonRead) -> Values:
        values = map(self.fingerprint, person.values)
        return frozenset(value for value in values if value is not None)

    def is_here(self, person: PersonRead) -> bool:
        """Whether a contact is of the location; an answer that does not name one is to a request about this one."""
        return person.location in (self.location, "")


@dataclass(slots=True)
class SingleReadings:
    """Contacts that were read one by one."""

    people: dict[ContactId, Values] = field(default_factory=dict)
    gone: dict[ContactId, None] = field(default_factory=dict)
    """Contacts that are not there, by the API's word."""
    absences: Absences = field(default_factory=Absences)
    is_believed: bool = True
    """Whether reading shows contacts that are there, as far as it was looked at."""
    answered: int = 0
    """Values that were looked up."""
    refused: int = 0
    """Values that the API refused to look up: nothing follows for them."""

    @property
    def is_refused(self) -> bool:
        """Whether every look-up was refused: then it is not about the values."""
        return bool(self.refused) and not self.answered

    def doubt(self) -> None:
        """The contacts are not believed to be gone."""
        self.is_believed = False


async def read_by_id(services: PullServices, contacts: Iterable[ContactId]) -> SingleReadings:
    readings = SingleReadings()
    await run_jobs((partial(_read_one, services, contact, readings) for contact in contacts), AT_ONCE)
    return readings


async def _read_one(services: PullServices, contact: ContactId, readings: SingleReadings) -> None:
    await readings.absences.wait()
    if not readings.is_believed:
        return
    try:
        _, person = await services.gate.read_with_retries(partial(services.reader.get_person, contact))
    except Unread:
        # merged: its values are the survivor's, where they are anybody's; that it is gone is not said
        readings.absences.end()
        readings.people[contact] = frozenset()
        return
    except (InDoubt, RequestRefused):
        return
    if isinstance(person, PersonRead) and services.is_here(person):
        readings.absences.end()
        readings.people[contact] = services.fingerprints(person)
        return
    readings.gone[contact] = None
    readings.absences.add(contact)
    if not await readings.absences.are_believed(read_people_to_control(services.reader, services.gate)):
        readings.doubt()


async def look_up(
    services: PullServices, values: Iterable[PersonValue], methods: Mapping[ValueKind, LookUp]
) -> SingleReadings:
    readings = SingleReadings()
    await run_jobs((partial(_look_up_one, services, value, methods, readings) for value in values), AT_ONCE)
    return readings


async def _look_up_one(
    services: PullServices, value: PersonValue, methods: Mapping[ValueKind, LookUp], readings: SingleReadings
) -> None:
    try:
        people = await _find(services, value, methods[value.kind])
    except RequestRefused:
        # the vendor takes not every value that a file may have
        readings.refused += 1
        return
    readings.answered += 1
    readings.people |= {person.id: services.fingerprints(person) for person in people}


async def _find(services: PullServices, value: PersonValue, method: LookUp) -> Sequence[PersonRead]:
    """The contacts of the location that have the value."""
    gate, reader, people = services.gate, services.reader, list[PersonRead]()
    if method is LookUp.DUPLICATE:
        _, person = await gate.read_with_retries(partial(reader.find_duplicate, gate.location, value))
        people += [] if person is None else [person]
    else:
        _, page = await gate.read_with_retries(partial(reader.find_people, gate.location, value))
        people += page.people
    # a filter may match more than the same value: a contact without it is none that was sought
    sought = services.fingerprint(value)
    return [person for person in people if services.is_here(person) and sought in services.fingerprints(person)]


async def find_method(services: PullServices, person: PersonRead, value: PersonValue) -> LookUp:
    """The request that finds a contact by a value that the location has shown of it."""
    # the filter shows every contact that has the value, the search for duplicates one: it is tried second
    methods = [LookUp.SEARCH] if value.kind is ValueKind.FIELD else [LookUp.SEARCH, LookUp.DUPLICATE]
    for method in methods:
        try:
            if any(other.id == person.id for other in await _find(services, value, method)):
                return method
        except RequestRefused:
            continue
    return LookUp.NONE


def choose_sample(kind: ValueKind, people: Iterable[PersonRead]) -> tuple[PersonRead, PersonValue] | None:
    """A contact with a value of the kind that can be looked up, spelt as those of files are: in lower case."""
    pairs = ((person, value) for person in people for value in person.values if value.kind is kind)
    lowered = ((person, replace(value, text=value.text.strip().lower())) for person, value in pairs)
    return next((pair for pair in lowered if can_look_up(pair[1].text)), None)
