"""Reads contacts with the values that people are matched by, and can do nothing else: pull and resolve hold this.

Law: no request here changes a contact, and no error repeats a value that was looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from reconciler.core.model.contact_filter import ContactFilter
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    InDoubt,
    NotApplied,
    NoWay,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    Unread,
)
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.model.outcome import Rejection
from reconciler.core.model.people import PersonValue
from reconciler.highlevel import ApiArguments, Client, tell_absence
from reconciler.highlevel.connection import Connection
from reconciler.wire import SEARCH_PATH, Page, contact_path, read_page
from reconciler.wire_people import (
    CustomField,
    PeoplePage,
    PersonRead,
    custom_fields_path,
    duplicate_path,
    filter_body,
    look_up_body,
    people_body,
    read_custom_fields,
    read_people,
    read_person,
)


def connect_people(base_url: str, **arguments: Unpack[ApiArguments]) -> HighLevelPeople:
    """One location's API, to read people and nothing else; raises NoWay where the environment leads nowhere."""
    return HighLevelPeople(Connection(base_url, **arguments))


class HighLevelPeople(Client):
    """A PeopleReader over HTTP."""

    async def search_people(
        self, location: LocationId, cursor: tuple[Any, ...] | None, *, changed_since: Instant | None = None
    ) -> PeoplePage:
        body = people_body(location, cursor, changed_since=changed_since)
        return self._connection.read(read_people, (await self._connection.ask("POST", SEARCH_PATH, body)).body)

    async def search_filter(self, location: LocationId, wanted: ContactFilter, cursor: tuple[Any, ...] | None) -> Page:
        body = filter_body(location, wanted, cursor)
        return self._connection.read(read_page, (await self._connection.ask("POST", SEARCH_PATH, body)).body)

    async def find_people(self, location: LocationId, value: PersonValue) -> PeoplePage:
        with _withholding():
            answer = await self._connection.ask("POST", SEARCH_PATH, look_up_body(location, value))
        return self._connection.read(read_people, answer.body)

    async def find_duplicate(self, location: LocationId, value: PersonValue) -> PersonRead | None:
        with _withholding():
            answer = await self._connection.ask("GET", duplicate_path(location, value))
        return self._connection.read(read_person, answer.body)

    async def get_person(self, contact: ContactId) -> PersonRead | Rejection:
        try:
            answer = await self._connection.ask("GET", contact_path(contact))
        except ApiError as error:
            return tell_absence(error)
        except ValueError:
            # not the API's word: nothing was asked
            raise RequestRefused(f"contact {contact}: a path cannot carry its id", status=0) from None
        person = self._connection.read(read_person, answer.body)
        if person is None:
            raise InDoubt(f"contact {contact} was answered with no contact")
        # merged: the survivor may answer under its own id
        if person.id != contact:
            raise Unread(f"contact {contact} was answered as another contact: merged?")
        return person

    async def list_custom_fields(self, location: LocationId) -> tuple[CustomField, ...]:
        answer = await self._connection.ask("GET", custom_fields_path(location))
        return self._connection.read(read_custom_fields, answer.body)


@contextmanager
def _withholding() -> Iterator[None]:
    """Lets no error of a look-up repeat the value that was looked for: a server may, in a spelling of its own."""
    try:
        yield
    except ApiError as error:
        error.withhold(_describe_failure(error))
        raise


def _describe_failure(error: ApiError) -> str:
    """The failure of a look-up in words of ours."""
    match error:
        case NoWay():
            # nothing was sent: the words are the machine's
            return error.message
        case RequestRefused() | AuthRefused() if error.status:
            return f"a look-up was answered {error.status}; the answer's words are withheld, as they may hold the value"
        case RateLimited() | QuotaExhausted():
            return "a look-up was not taken: the limit of requests is used up for now"
        case NotApplied():
            return "a look-up was not taken"
    return "a look-up had no answer that can be read"
