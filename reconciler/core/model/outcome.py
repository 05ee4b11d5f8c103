"""The meaning of an answer: of each response row, and of a 401 or 403. Pure.

Rules
1. Rows decide, one a contact; `succeded` and `errorCount` are not looked at. A missing row, more than
   one row, or a row that contradicts itself or the request leaves the contact in doubt.
2. A documented error message rejects the contact. An unknown error message says nothing of the effect: held.
3. A success row is the next observation: the contact carries (old + added) - removed now.
4. A tag that comes back in another spelling is the tag that was sent (`tag_aliases.py` remembers it).
5. The vendor answers 401 to a token that is no good any more, to a missing scope and to a request without a version;
   its words tell them apart (live accounts: "The token is not authorized for this scope.", "version header was not
   found."). Words of another kind beside a 401 are about the token itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from functools import partial
from typing import Any

from reconciler.core.model.alike import map_alike
from reconciler.core.model.names import ContactId, Tag, TagSet, alike_but_for_spelling


class Action(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class Outcome(StrEnum):
    """How a change, or a contact in a batch, ended."""

    APPLIED = "applied"
    NOOP = "noop"
    SEEN = "seen"
    REJECTED = "rejected"
    HELD = "held"
    IN_DOUBT = "in_doubt"
    DEFERRED = "deferred"
    NOT_SENT = "not_sent"


class Rejection(StrEnum):
    """Why the API refuses a contact for good."""

    INVALID = "invalid"
    DELETED = "deleted"
    FOREIGN = "other location"


REJECTIONS = {
    "contact id is not a valid firebase id": Rejection.INVALID,
    "contact is deleted": Rejection.DELETED,
    "contact does not belong to location": Rejection.FOREIGN,
}
"""The vendor's documented error messages (OpenAPI of 2026-06-19, UpdateTagsResponseDTO)."""

BAD_REQUEST = 400
UNAUTHORIZED = 401
THE_TOKEN = "the token"  # noqa: S105 (no token)


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One element of `responses`. `old`, `added`, `removed` are None where the answer does not have them."""

    contact: ContactId
    type: str
    message: str
    old: TagSet | None = None
    added: TagSet | None = None
    removed: TagSet | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ResponseRows(Sequence[ResponseRow]):
    """Rows in two columns: most differ by their contact alone, and share what is `said`, whatever contact is in it."""

    contacts: Sequence[ContactId]
    said: Sequence[ResponseRow]

    def __len__(self) -> int:
        return len(self.contacts)

    def __getitem__(self, place: Any) -> Any:
        return replace(self.said[place], contact=self.contacts[place])


@dataclass(frozen=True, slots=True)
class ContactOutcome:
    """How one contact of a batch ended. `observed`: the tags it carries now, None where the answer does not tell."""

    outcome: Outcome
    message: str = ""
    rejection: Rejection | None = None
    old: TagSet | None = None
    added: TagSet = frozenset()
    removed: TagSet = frozenset()

    @property
    def observed(self) -> TagSet | None:
        return None if self.old is None else (self.old | self.added) - self.removed


def classify_rows(
    action: Action, contacts: Iterable[ContactId], tags: Iterable[Tag], rows: Sequence[ResponseRow]
) -> dict[ContactId, ContactOutcome]:
    """One verdict for each contact of the batch; rows of contacts that were not sent are ignored."""
    told = rows if isinstance(rows, ResponseRows) else ResponseRows([row.contact for row in rows], rows)
    verdicts = dict(zip(told.contacts, map_alike(partial(_judge_row, action, frozenset(tags)), told.said), strict=True))
    # two rows of one contact cannot both be its answer, and neither is known to be
    for contact, number in Counter(told.contacts).items() if len(verdicts) < len(told) else ():
        verdicts[contact] = verdicts[contact] if number == 1 else _undecided(number)
    return {contact: verdicts.get(contact) or _undecided(0) for contact in contacts}


def _undecided(rows: int) -> ContactOutcome:
    return ContactOutcome(Outcome.IN_DOUBT, f"{rows or 'no'} row{'s' * (rows > 1)} in the answer")


def _judge_row(action: Action, wanted: TagSet, row: ResponseRow) -> ContactOutcome:
    # an error that changed tags all the same is not believed either way
    if row.type == "error" and (row.added or row.removed):
        return ContactOutcome(Outcome.IN_DOUBT, "an error row that tells of a change")
    if row.type == "error":
        # a message that is not documented may be of any kind: it tells nothing of the effect
        rejection = REJECTIONS.get(row.message.lower())
        message = row.message or "an error without a message"
        return ContactOutcome(Outcome.REJECTED if rejection else Outcome.HELD, message, rejection)
    if row.type != "success":
        return ContactOutcome(Outcome.HELD, row.message or "a row of unknown type")
    return _judge_success(action, wanted, row)


def _is_as_asked(action: Action, wanted: TagSet, old: TagSet, changed: TagSet) -> bool:
    """Whether the tags that changed are those that were to change, be it in another spelling."""
    if action is Action.REMOVE:
        strange, missing = changed - wanted, (wanted & old) - changed
        return not missing and changed <= old and alike_but_for_spelling(strange, wanted)
    strange, missing = changed - wanted, wanted - old - changed
    told = not changed & old and alike_but_for_spelling(strange, wanted)
    return told and alike_but_for_spelling(missing, old | changed)


def _judge_success(action: Action, wanted: TagSet, row: ResponseRow) -> ContactOutcome:
    if row.old is None or row.added is None or row.removed is None:
        return ContactOutcome(Outcome.IN_DOUBT, "a row without its tags")
    changed, opposite = (row.added, row.removed) if action is Action.ADD else (row.removed, row.added)
    # an add that removes, or a change other than old tags and request allow, tells of another request or of a bug there
    if opposite or not _is_as_asked(action, wanted, row.old, changed):
        return ContactOutcome(Outcome.IN_DOUBT, "a row that contradicts the request")
    return ContactOutcome(
        Outcome.APPLIED if changed else Outcome.NOOP, row.message, None, row.old, row.added, row.removed
    )


class RefusalKind(Enum):
    """The thing refused. PLACE: the token in this location, or a scope. PAGE: a page says so, and not the API."""

    TOKEN = "token"  # noqa: S105 (no token)
    SCOPE = "scope"
    PLACE = "place"
    VERSION = "version"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal in words, with its remedy."""

    kind: RefusalKind
    meaning: str
    remedy: str


def read_refusal(status: int, said: Iterable[str], token: str, *, page: bool = False) -> Refusal:
    """`token`: its name and where it is held, never the token itself. `page`: the answer is a web page."""
    if page:
        meaning = "this is a web page and no answer of the API: a firewall, a proxy or a sign-in refuses"
        return Refusal(RefusalKind.PAGE, meaning, "see api.base_url, and what network and proxy let through")
    # the status is the same for all of them; the scope is asked first, as its message names the token too
    words = " ".join(said).lower()
    if "scope" in words:
        remedy = "give it the scopes contacts.readonly and locations/tags.readonly, and contacts.write to apply"
        return Refusal(RefusalKind.SCOPE, f"{token} lacks a scope", remedy)
    if "version" in words:
        return Refusal(RefusalKind.VERSION, "the request named no version that it knows", "see api.version")
    if status == UNAUTHORIZED:
        remedy = "make a new token in HighLevel, and set it where the old one is held"
        return Refusal(RefusalKind.TOKEN, f"{token} is expired, revoked or rotated, or is no token of this API", remedy)
    remedy = "see that the token is of this location and has the scopes it needs"
    return Refusal(RefusalKind.PLACE, f"{token} may not do this in the location", remedy)


def is_version_refused(status: int, said: Sequence[str]) -> bool:
    """Whether the request was turned away for its header `Version`: without one by 401, with an unknown one by 400.

    Source: live accounts. The words are asked for in full: a tag may be called version.
    """
    words = [text.lower() for text in said]
    return status in (BAD_REQUEST, UNAUTHORIZED) and bool(words) and all("version header" in text for text in words)


def called(held_in: str) -> str:
    """The name of a token in messages; `held_in` is empty where its place is not known."""
    return f"{THE_TOKEN} from {held_in}" if held_in else THE_TOKEN


class PendingCause(StrEnum):
    """Why a pair is pending. BEGAN, ENDED: a set did, by its `from` or `until`. FOUND: an observation showed it. PACE,
    LEFT: a run left it, to wait or unsent. WAITS: a removal, for an add. NEVER: no apply of the location, or of the
    contact, is known."""

    MOVED = "moved"
    BEGAN = "began"
    ENDED = "ended"
    FOUND = "found"
    PACE = "pace"
    LEFT = "left"
    WAITS = "waits"
    NEVER = "never"
