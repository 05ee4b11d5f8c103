"""Whether reading shows contacts that are there: asked where many in a row are said not to be.

A token, a location or a replica that is not as it was hides living contacts, too; contacts that were deleted hide
no others.
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler.core.model.errors import ApiError, AuthRefused, QuotaExhausted
from reconciler.core.model.names import ContactId
from reconciler.ports import PeopleReader, TagReader
from reconciler.request_gate import RequestGate
from reconciler.wire import FORBIDDEN, ContactRead
from reconciler.wire_people import PersonRead

MOST_IN_A_ROW = 10
"""So many readings in a row may fail, or be of contacts that are said not to be there."""


@dataclass(frozen=True, slots=True)
class ControlReader:
    """Reads contacts of a location in whichever form the caller does."""

    find_living: Callable[[], Awaitable[Sequence[ContactId]]]
    """The contacts of the location on a page of the search."""
    is_shown: Callable[[ContactId], Awaitable[bool]]
    """Whether a contact that is read by its id is shown as one of the location."""


@dataclass(slots=True)
class Absences:
    """Contacts that were read one after the other, and are said not to be there."""

    in_a_row: list[ContactId] = field(default_factory=list)
    """The last of them, with no contact between them that is there."""
    _doubted: frozenset[ContactId] = frozenset()
    _question: Lock = field(default_factory=Lock)

    @property
    def unproven(self) -> frozenset[ContactId]:
        """Those that are not believed to be gone, also where a contact was found since."""
        return self._doubted.union(self.in_a_row if self.are_too_many else ())

    @property
    def are_too_many(self) -> bool:
        """Whether there are too many in a row to be believed without another look."""
        return len(self.in_a_row) >= MOST_IN_A_ROW

    async def wait(self) -> None:
        """Until it is known whether reading shows contacts that are there, if that is in question."""
        async with self._question:
            pass

    def add(self, contact: ContactId) -> int:
        """Counts one more, and returns how many there are in a row."""
        self.in_a_row.append(contact)
        # so many others are not believed to be gone: an answer after theirs proves no more
        self._doubted |= {contact} if self._doubted else set()
        return len(self.in_a_row)

    def end(self) -> None:
        """A contact is there."""
        self.in_a_row.clear()

    async def are_believed(self, reader: ControlReader) -> bool:
        """Whether they are few, or reading shows contacts that are there; then the next ones are counted anew."""
        # of several that ask at once, the first one gets the answer
        if not self.are_too_many or self._question.locked():
            return True
        self._doubted = frozenset(self.in_a_row)
        async with self._question:
            is_shown = await _shows_the_living(reader)
        if is_shown:
            self.end()
            self._doubted = frozenset()
        return is_shown


async def _shows_the_living(reader: ControlReader) -> bool:
    """Whether contacts of the location that a search shows are shown when they are read by id, too.

    Four requests at most: a copy of the location that lacks some of its contacts may have one of them. Raises an error
    that says nothing of the contacts: a limit is used up, or the token is no good any more.
    """
    try:
        living = await reader.find_living()
        for contact in dict.fromkeys((living[0], living[len(living) // 2], living[-1]) if living else ()):
            if not await reader.is_shown(contact):
                return False
    except ApiError as error:
        if is_about_all(error):
            raise
        return False
    return bool(living)


def is_about_all(error: ApiError) -> bool:
    """Whether the error of one request would be that of any other."""
    return isinstance(error, QuotaExhausted) or (isinstance(error, AuthRefused) and error.status != FORBIDDEN)


def read_tags_to_control(reader: TagReader, gate: RequestGate) -> ControlReader:
    """Of a caller that reads tags."""
    here = (gate.location, "")

    async def find_living() -> Sequence[ContactId]:
        _, page = await gate.read_with_retries(partial(reader.search, gate.location, None))
        return [row.id for row in page.contacts if row.location in here]

    async def is_shown(contact: ContactId) -> bool:
        _, answer = await gate.read_with_retries(partial(reader.get_contact, contact))
        return isinstance(answer, ContactRead) and answer.location in here

    return ControlReader(find_living, is_shown)


def read_people_to_control(reader: PeopleReader, gate: RequestGate) -> ControlReader:
    """Of a caller that reads people."""
    here = (gate.location, "")

    async def find_living() -> Sequence[ContactId]:
        _, page = await gate.read_with_retries(partial(reader.search_people, gate.location, None))
        return [person.id for person in page.people if person.location in here]

    async def is_shown(contact: ContactId) -> bool:
        _, person = await gate.read_with_retries(partial(reader.get_person, contact))
        return isinstance(person, PersonRead) and person.location in here

    return ControlReader(find_living, is_shown)
