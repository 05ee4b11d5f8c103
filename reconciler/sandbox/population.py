"""A made-up location around given contacts: the same for ever for the same seed. Pure.

Most of the contacts exist and carry a few tags of their own. Some trouble is mixed in, as real lists have it: about one
in `ONE_DELETED_IN` is deleted, one in `ONE_FOREIGN_IN` belongs to another location; an id that cannot be one does not
exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, looks_like_contact_id
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World, made_up_id

ONE_DELETED_IN = 400
ONE_FOREIGN_IN = 1_500
OWN_TAGS = (
    "lead",
    "webinar 2025",
    "imported-2024",
    "newsletter",
    "trial",
    "invoice overdue",
    "wf-welcome-sent",
    "called",
)

_FIRST_DAY = 1_704_067_200_000  # 2024-01-01T00:00Z
_SPAN_MS = 600 * 86_400_000


def make_world(
    location: LocationId,
    contacts: Iterable[str],
    *,
    seed: int,
    extra: int = 0,
    tags: Sequence[str] = OWN_TAGS,
    assumptions: Assumptions | None = None,
) -> World:
    """A world in which `contacts` live, with `extra` ones that nobody names. `tags`: what they may carry already."""
    rules = assumptions or Assumptions()
    named = sorted({contact for contact in contacts if looks_like_contact_id(contact)})
    others = [made_up_id(location, str(seed), str(number)) for number in range(extra)]
    palette = [rules.spell(tag) for tag in tags]
    deleted, foreign = _troubled(named, seed)
    elsewhere = LocationId(made_up_id(location, str(seed), "elsewhere"))
    found = []
    for name in dict.fromkeys([*named, *others]):
        where = elsewhere if name in foreign else location
        found.append(_contact(name, where, palette, seed=seed, deleted=name in deleted))
    return World(location, found, assumptions=rules)


def _troubled(named: list[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Who is deleted and who is elsewhere: an exact share, so that small lists have none and large ones do."""
    chance = Random(f"{seed}:troubled")  # noqa: S311  the same for ever, not secret
    deleted, foreign = round(len(named) / ONE_DELETED_IN), round(len(named) / ONE_FOREIGN_IN)
    picked = chance.sample(named, deleted + foreign)
    return frozenset(picked[:deleted]), frozenset(picked[deleted:])


def _contact(name: str, location: LocationId, palette: Sequence[Tag], *, seed: int, deleted: bool) -> Contact:
    chance = Random(f"{seed}:{name}")  # noqa: S311  the same for ever, not secret
    count = min(len(palette), chance.choices((0, 1, 2, 3), weights=(40, 35, 18, 7))[0])
    added = _FIRST_DAY + chance.randrange(_SPAN_MS)
    updated = Instant(added + chance.randrange(_SPAN_MS // 20))
    carried = frozenset(chance.sample(palette, count))
    return Contact(ContactId(name), location, carried, Instant(added), updated, deleted=updated if deleted else None)
