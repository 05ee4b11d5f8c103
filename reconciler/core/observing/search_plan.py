"""What a search tells of the adds in doubt on many contacts, and where it is cheaper than reading. Pure.

Rules
1. An index that lags can hide a tag that was added, and show one that was removed lately. So a row shows an add to have
   landed where the row is younger than the request, whatever was before; and where the tag was seen absent so long ago
   that the row cannot be from before that.
2. Nothing else follows from a search: a tag that a row lacks may have been added, one that it has may be removed since.
   Removals in doubt, and adds that no row shows, are settled by reading.
3. The cheaper way is the one that takes less time at the rate limit: a page follows the one before, reads do not wait
   for one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin, confirm, observe
from reconciler.core.model.names import Instant, Tag, TagSet
from reconciler.core.model.policy import Rate, duration
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, estimate, pages

PAGE_MS = 1_000
"""How long a page is reckoned to take: the next one is asked for with its cursor."""

EVERYBODY = Tag("")
"""In place of a tag to search for: all contacts of the location."""

NONE: TagSet = frozenset()


def may_show(known: ContactState, adds: TagSet, before: TagSet, asked: Instant) -> TagSet:
    """Those of `adds`, all that is in doubt on the contact, that a row asked for then may show to have landed.

    `before`: what was observed of it before, spelt as we send it.
    """
    if known.doubt != adds or known.doubt_at is None:
        return NONE
    oldest = asked - INDEX_LAG_MS
    if oldest >= known.doubt_at:
        return adds
    if known.observed is None or known.observed_at is None or known.observed_at > oldest:
        return NONE
    return adds - before


def see(known: ContactState, seen: TagSet, tags: TagSet, asked: Instant, *, settle_ms: int) -> ContactState:
    """What is known once a row with these `tags` showed the adds `seen`; the others stay in doubt."""
    at = Instant(asked - INDEX_LAG_MS)
    if known.observed_at is None or at >= known.observed_at:
        after = observe(known, tags, at=at, origin=ObservationOrigin.SEARCH, settle_ms=settle_ms)
    else:
        # of all else the row may tell what was before
        after = replace(known, observed=(known.observed or NONE) | seen)
    doubt = known.doubt - seen
    return replace(confirm(after, seen), doubt=doubt, doubt_at=known.doubt_at if doubt else None)


@dataclass(frozen=True, slots=True)
class Searches:
    """For one tag each, or for everybody; `pages`: how many requests they take, as far as is known."""

    tags: tuple[Tag, ...] = ()
    pages: int = 0


def cheapest(groups: Counter[TagSet], observed: ContactStates, sought: TagSet, rate: Rate) -> Searches:
    """The searches that take less time than reading; none where none does.

    `groups`: how many contacts have these adds in doubt; the row of a contact tells of all of them. `sought`: the tags
    that can be searched for.
    """
    by_tag, left = _by_tag(groups, _holders(observed, sought), rate)
    everybody = Searches((EVERYBODY,), pages(max(len(observed), groups.total())))
    to_beat = min(searching_ms(by_tag.pages, rate) + reading_ms(left, rate), reading_ms(groups.total(), rate))
    return everybody if searching_ms(everybody.pages, rate) < to_beat else by_tag


def _by_tag(groups: Counter[TagSet], holders: Mapping[Tag, int], rate: Rate) -> tuple[Searches, int]:
    """One tag after the other, most contacts first; and how many contacts are left to be read."""
    left, chosen = Counter(groups), Searches()
    while left:
        shown: Counter[Tag] = Counter()
        for tags, number in left.items():
            shown.update(dict.fromkeys(tags & holders.keys(), number))
        tag = max(sorted(shown), key=shown.__getitem__, default=EVERYBODY)
        if searching_ms(number := pages(holders.get(tag, 0)), rate) >= reading_ms(shown[tag], rate):
            break
        chosen = Searches((*chosen.tags, tag), chosen.pages + number)
        left = Counter({tags: number for tags, number in left.items() if tag not in tags})
    return chosen, left.total()


def _holders(observed: ContactStates, tags: TagSet) -> dict[Tag, int]:
    """How many contacts a search for each tag may show, as far as is known."""
    alike = Counter(observed.contacts.values())
    holders = dict.fromkeys(tags, 0)
    for index, known in enumerate(observed.patterns):
        for tag in ((known.observed or NONE) | known.doubt) & tags:
            holders[tag] += alike[index]
    return holders


def reading_ms(contacts: int, rate: Rate) -> int:
    """How long reading so many takes one by one, at the least."""
    return duration(contacts, rate)


def searching_ms(number: int, rate: Rate) -> int:
    """How long so many pages take."""
    return estimate(number, rate, each_ms=PAGE_MS).milliseconds
