"""The API's behaviour where it is not certain, as the sandbox assumes it: one switch for each question.

`docs/assumptions.md` has a row for each switch: the product where the API is otherwise than the default.
Status of each, as in the vendor's documents and reports: S specified by the vendor, F reported from live accounts by
third parties, A our assumption, ? unknown. A client that is right stays right under every value of every switch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from typing import Annotated, get_args, get_type_hints

from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import Tag, did_you_mean


class Oversize(StrEnum):
    """The fate of a bulk request above the size limits."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    CUT = "cut"


class Merged(StrEnum):
    """The row of a contact that was merged into another one, the survivor."""

    DELETED = "deleted"
    UNDER_OWN_ID = "under-own-id"
    UNDER_SURVIVOR = "under-survivor"


class DuplicateSearch(StrEnum):
    """How the search for a contact with an e-mail or a phone answers."""

    WORKS = "works"
    FINDS_NOTHING = "finds-nothing"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a number may be."""

    least: int
    most: int


Count = Annotated[int, Bounds(0, 1_000_000)]
Size = Annotated[int, Bounds(1, 1_000_000)]
Lag = Annotated[int, Bounds(0, 86_400_000)]
"""Milliseconds, up to a day."""
Lifetime = Annotated[int, Bounds(1, 31_536_000)]
"""Seconds, up to a year."""
RefusalStatus = Annotated[int, Bounds(400, 499)]
SuccessStatus = Annotated[int, Bounds(200, 299)]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The defaults are our beliefs. Each can be reversed; combine them freely."""

    lowercases_tags: bool = True
    """F: tags are stored in lower case. Otherwise two spellings are two tags."""
    trims_tags: bool = True
    """?: white space around a tag is dropped."""
    collapses_spaces: bool = False
    """?: white space inside a tag becomes one space, so that an added tag comes back spelt otherwise."""
    composes_unicode: bool = False
    """?: letters and their marks become one character (NFC), so that an added tag comes back spelt otherwise."""
    blank_tags_refused: bool = True
    """?: a tag of nothing but white space is answered with 422. Otherwise it is left out."""
    longest_tag: Count = 0
    """?: a longer tag is answered with 422; 0 sets no limit."""
    max_contacts: Size = 500
    """S (2025-05-04, dropped since): contacts in one bulk request."""
    max_tags: Size = 50
    """S (2025-05-04, dropped since): tags in one bulk request."""
    oversize: Oversize = Oversize.REFUSED
    """A: above these limits the answer is 422 with a list of messages. Otherwise all, or the first, are processed."""
    oversize_names_limit: bool = True
    """?: the refusal names the limit. Otherwise it is a 400 that says "Bad Request"."""
    unknown_tags_refused: bool = False
    """?: adding a tag that the location never had is answered with 422. Otherwise the tag is made."""
    writes_refused_after_effect: Count = 0
    """?, F of other endpoints: every n-th bulk request takes effect and is answered with 422; 0 for none."""
    empty_lists_refused: bool = True
    """?: an empty `contacts` or `tags` is answered with 422. Otherwise with 201 and nothing changes."""
    extra_keys_refused: bool = True
    """F: a key that the specification does not name is answered with 422. Otherwise it is ignored."""
    remove_all_on_add_refused: bool = True
    """?: `removeAllTags` with type add ("only with remove type") is answered with 422. Otherwise it is ignored."""
    repeats_give_rows: bool = True
    """S (by example): an id that is sent twice is answered with two rows. Otherwise with one."""
    rows_as_sent: bool = True
    """?: rows come in the order of `contacts`. Otherwise sorted by id."""
    counts_errors: bool = True
    """A: `errorCount` is the number of error rows. Otherwise 0, as in the documented example."""
    succeeds_with_errors: bool = True
    """S (by example): `succeded` is true beside error rows. Otherwise false."""
    spells_succeeded: bool = False
    """S: `Version: v3` answers with both `succeded` and `succeeded`. True: every version does."""
    spells_succeded: bool = True
    """S: the misspelt `succeded` is there. Otherwise only `succeeded` is."""
    rows_as_text: bool = False
    """S by type, not by example: the rows are strings that hold JSON. Otherwise they are objects."""
    unknown_contact: str = "contact is deleted"
    """?: the message of the row of a well-formed id that no contact ever had."""
    missing_contact_status: RefusalStatus = 400
    """A: the status of reading a contact that is deleted or never was."""
    missing_contact_message: str = "Contact not found"
    """F: the message beside this status; each client met another one."""
    merged_row: Merged = Merged.DELETED
    """?: a write to a merged contact is refused as one to a deleted one. Otherwise the survivor gets it, and the row
    has the id that was sent or the survivor's."""
    merged_reads_as_survivor: bool = False
    """?: reading a merged contact shows the survivor under the survivor's id. Otherwise it is missing."""
    read_under_other_id: Count = 0
    """?: reading a contact shows it under an id that was not asked for: every n-th by id; 0 for none."""
    read_without_location: bool = False
    """?: a contact is shown without its `locationId`."""
    changes_as_asked: bool = False
    """?: `tagsAdded` and `tagsRemoved` name the tags as they were sent, not those that changed as they are stored."""
    tag_write_moves_date: bool = True
    """?: a write that changes the tags of a contact moves its `dateUpdated`."""
    noop_write_moves_date: bool = False
    """?: a write that changes nothing moves it too."""
    search_lag_ms: Lag = 3_000
    """S ("a few seconds"), F (12 s, and minutes): the index that a search reads is that old."""
    search_flickers_ms: Lag = 0
    """F: a hit vanishes and comes back: one contact in four is out of sight, for that long each; 0 for none."""
    search_ignores_cursor: bool = False
    """?: every page is the first one, so that a search never ends."""
    read_lag_ms: Lag = 0
    """?: the copy that reading one contact shows is that old."""
    search_row_without_tags: Count = 0
    """F: some rows of a search lack `tags`: every n-th by id; 0 for none, as it is not known which."""
    search_row_with_nulls: bool = True
    """F: a row of a search has an e-mail or a phone that is not there as null. Otherwise it lacks the key."""
    additional_as_objects: bool = False
    """F: additional e-mails and phones are objects, `{"email": …}` and `{"phone": …}`. Otherwise texts, as the vendor's
    example of a row has them (S)."""
    field_numbers: bool = False
    """?: a value of a custom field that is a number comes as one. Otherwise as text, as in the vendor's schema (S)."""
    additional_are_sought: bool = True
    """?: filters and the search for duplicates see additional e-mails and phones. Otherwise the first one alone."""
    email_filter_finds_nothing: bool = False
    """?: a search by e-mail finds no contact that has it."""
    phone_filter_finds_nothing: bool = False
    """F: a search by phone finds no contact that has it."""
    duplicate_search: DuplicateSearch = DuplicateSearch.WORKS
    """A: `GET /contacts/search/duplicate` shows a contact with the value. Otherwise it says null for all, or is 404."""
    lowercases_emails: bool = True
    """?: e-mails are stored in lower case. Otherwise as they were written; a search compares them in lower case."""
    merging_keeps_addresses: bool = True
    """A: the addresses of a merged contact become the survivor's additional ones. Otherwise they are lost."""
    index_keeps_case: bool = False
    """?: the index holds texts as they were written; then a filter in lower case finds none with a capital letter. F by
    default: in lower case, as filters are to be written. Tags are as they are stored."""
    eq_needs_all: bool = True
    """?: the filter `eq` with several values asks for all of them. Otherwise for any."""
    opportunity_not_eq_is_any: bool = True
    """?: of opportunities `not_eq` is met by a contact with one that has another value. Otherwise by one of which none
    has the value."""
    unknown_version_status: RefusalStatus = 400
    """F: the status of a request whose `Version` the API does not know. One without any is answered with 401."""
    retry_after: bool = True
    """?: an answer 429 carries `Retry-After`."""
    daily_reset_header: bool = True
    """F: every answer carries `x-ratelimit-daily-reset`, the milliseconds until the daily quota starts anew."""
    interval_slides: bool = True
    """?: the interval of the rate limit slides. Otherwise it starts anew at multiples of its length."""
    refused_requests_count: bool = False
    """?: requests that were answered with 429 count as well."""
    location_token_s: Lifetime = 86_399
    """S (by example): how long a location token lasts that an agency's token was exchanged for."""
    exchange_status: SuccessStatus = 201
    """F: the status of an exchange: 201; S: 200."""
    exchange_in_camel_case: bool = False
    """S for v3: the answer has `accessToken` and `expiresIn`. Otherwise `access_token` and `expires_in`."""
    exchange_revokes: bool = False
    """?: an exchange ends the location tokens that were issued before."""

    def spell(self, text: str) -> Tag:
        """How the API stores a tag; empty for one that it leaves out."""
        if self.trims_tags:
            text = text.strip()
        if self.lowercases_tags:
            text = text.lower()
        if self.collapses_spaces:
            text = " ".join(text.split())
        if self.composes_unicode:
            text = unicodedata.normalize("NFC", text)
        return Tag(text if text.strip() else "")


_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch for people."""

    name: str
    default: str
    values: str
    """The values that it takes, in words."""


def list_switches() -> Iterator[Switch]:
    """The switches in the order of their names."""
    defaults, kinds = Assumptions(), _kinds()
    for name in sorted(kinds):
        yield Switch(name, _spell_value(getattr(defaults, name)), _describe_values(kinds[name]))


def read_assumptions(given: Iterable[str], base: Assumptions) -> Assumptions:
    """`base` with the switches that are given as NAME=VALUE; the last value of a name rules. Raises UsageError."""
    values = dict(_read_switch(text) for text in given)
    return replace(base, **values)  # type: ignore[arg-type]


def _read_switch(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    kinds = _kinds()
    if name not in kinds:
        raise UsageError(
            f"the sandbox has no switch {name[:80]!r}",
            hint=did_you_mean(name, kinds) or "`reconciler sandbox serve --help` lists the switches",
        )
    read = _read_value(kinds[name], value) if equals else None
    if read is None:
        given = repr(value[:80]) if equals else "no value"
        default = _spell_value(getattr(Assumptions(), name))
        raise UsageError(
            f"--assume {name} has {given}, and takes {_describe_values(kinds[name])}",
            hint=f"as in --assume {name}={default}, the default",
        )
    return name, read


@cache
def _kinds() -> Mapping[str, object]:
    """The type of each switch, that of a number with its bounds."""
    hints = get_type_hints(Assumptions, include_extras=True)
    return {member.name: hints[member.name] for member in fields(Assumptions)}


def _read_value(kind: object, text: str) -> object:
    """The value of a switch; None for one that it does not take."""
    if kind is bool:
        return _TRUTHS.get(text)
    if kind is str:
        return text or None
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(text) if text in list(kind) else None
    bounds = _bounds(kind)
    # isdigit is true of digits that int() does not read, and Python refuses to convert thousands of them
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(bounds.most)):
        return None
    return int(text) if bounds.least <= int(text) <= bounds.most else None


def _bounds(kind: object) -> Bounds:
    bounds = get_args(kind)[1]
    assert isinstance(bounds, Bounds)
    return bounds


def _describe_values(kind: object) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return "a text"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(kind)
    bounds = _bounds(kind)
    return f"a number from {bounds.least} to {bounds.most}"


def _spell_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
