"""Whether reading shows contacts that are there: asked where many in a row are said not to be.

A token, a location or a replica that is not as it was hides living contacts, too; contacts that were deleted hide
nobody else.
"""

from __future__ import annotations

from asyncio import Lock
from dataclasses import dataclass, field
from functools import partial

from reconciler.core.model.errors import ApiError, AuthRefused, QuotaExhausted
from reconciler.ports import TagReader
from reconciler.request_gate import RequestGate
from reconciler.wire import FORBIDDEN, ContactRead

MOST_IN_A_ROW = 10
"""So many readings in a row may fail, or be of contacts that are said not to be there."""


@dataclass(slots=True)
class Absences:
    """Contacts that were read one after the other, and are said not to be there."""

    in_a_row: int = 0
    _question: Lock = field(default_factory=Lock)

    async def wait(self) -> None:
        """Until it is known whether reading shows contacts that are there, if that is in question."""
        async with self._question:
            pass

    def add(self) -> int:
        """Counts one more, and returns how many there are in a row."""
        self.in_a_row += 1
        return self.in_a_row

    def end(self) -> None:
        """A contact is there."""
        self.in_a_row = 0

    async def are_believed(self, reader: TagReader, gate: RequestGate) -> bool:
        """Whether reading shows contacts that are there; the next ones are counted anew."""
        # of several that ask at once, the first one gets the answer
        if self._question.locked():
            return True
        async with self._question:
            is_shown = await shows_the_living(reader, gate)
        self.in_a_row = 0
        return is_shown


async def shows_the_living(reader: TagReader, gate: RequestGate) -> bool:
    """Whether contacts of the location that a search shows are shown when they are read by id, too.

    Four requests at most: a copy of the location that lacks some of its contacts may have one of them. Raises an error
    that says nothing of the contacts: a limit is used up, or the token is no good any more.
    """
    try:
        _, page = await gate.read_with_retries(partial(reader.search, gate.location, None))
        living = [row.id for row in page.contacts if row.location in (gate.location, "")]
        for contact in dict.fromkeys((living[0], living[len(living) // 2], living[-1]) if living else ()):
            _, answer = await gate.read_with_retries(partial(reader.get_contact, contact))
            if not isinstance(answer, ContactRead) or answer.location not in (gate.location, ""):
                return False
    except ApiError as error:
        if is_about_all(error):
            raise
        return False
    return bool(living)


def is_about_all(error: ApiError) -> bool:
    """Whether the error of one request would be that of any other."""
    return isinstance(error, QuotaExhausted) or (isinstance(error, AuthRefused) and error.status != FORBIDDEN)
