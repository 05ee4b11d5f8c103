"""What a 401 or 403 says: the token is no good any more, it may not do this, or the request named no version. Pure.

Rule: the vendor answers 401 to all three; its words tell them apart (live accounts: "The token is not authorized for
this scope.", "version header was not found."). Words of another kind beside a 401 are about the token itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class RefusalKind(Enum):
    """What is refused. PLACE: the token in this location, or a scope. PAGE: a page says so, and not the API."""

    TOKEN = "token"  # noqa: S105 (no token)
    SCOPE = "scope"
    PLACE = "place"
    VERSION = "version"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What it means in words, and what to do about it."""

    kind: RefusalKind
    meaning: str
    remedy: str


def read_refusal(status: int, said: Iterable[str], token: str, *, page: bool = False) -> Refusal:
    """`token`: what it is called, and where it is held; never the token itself. `page`: the answer is a web page."""
    if page:
        meaning = "this is a web page and no answer of the API: a firewall, a proxy or a sign-in refuses"
        return Refusal(RefusalKind.PAGE, meaning, "see api.base_url, and what network and proxy let through")
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


UNAUTHORIZED = 401
THE_TOKEN = "the token"  # noqa: S105 (no token)


def called(held_in: str) -> str:
    """What a token is called that is held there; `held_in` empty: that is not known."""
    return f"{THE_TOKEN} from {held_in}" if held_in else THE_TOKEN
