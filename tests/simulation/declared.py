"""What a world's manifests say, twice: as the product's values, and as plain sets for whoever checks the product.

`Declared` is worked out here from `docs/contract.md`, sections 3 and 5, not by the product.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.manifest import Authority, ContactSet, ListedContacts, Manifest, OnLeave, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag

PLACE = Source("manifests/acme.yaml", 1, 1)
PEOPLE = tuple(ContactId(f"p{nth}" * 10) for nth in range(5))
GONE, AWAY, NOBODY = ContactId("gone" * 5), ContactId("away" * 5), ContactId("no-such-contact")
MERGED, HEIR = ContactId("merge" * 4), ContactId("heir" * 5)
PLAIN, GROUP = ("a", "b", "c"), ("lead", "customer")
OLD, NEW, ONCE, SAFE, THEIRS, UNWANTED = "top", "gold", "welcome", "safe", "wf-7", "d"
FOREIGN = "zz"
SPACED = "new  lead"
"""Some locations store it with one blank."""
TAGS = (*PLAIN, SPACED, *GROUP, OLD, ONCE, SAFE, THEIRS, UNWANTED)


def canonical(tag: str) -> str:
    """What all spellings of a tag have in common."""
    return " ".join(tag.split())


@dataclass(frozen=True, slots=True)
class SetText:
    """A contact set as somebody wrote it."""

    people: tuple[ContactId, ...]
    tags: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    authority: Authority = Authority.ADDITIVE
    keep: bool = False
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Of the tags; what a world keeps to, but for the renaming. A workflow waits for the tag that may be `once`."""

    once: bool = True
    inert: bool = False
    renamed: bool = False

    def values(self) -> list[TagRule]:
        found = [TagRule(Tag(tag), PLACE, group="cycle") for tag in GROUP]
        found += [TagRule(Tag(SAFE), PLACE, protected=True), TagRule(Tag(ONCE), PLACE, once=self.once, triggers=True)]
        found += [TagRule(Tag("c"), PLACE, inert=self.inert)]
        return found + ([TagRule(Tag(NEW), PLACE, renamed_from=Tag(OLD))] if self.renamed else [])


@dataclass(frozen=True, slots=True)
class Declared:
    """What is wanted of each contact: tags it shall carry, tags it shall not, whose word rules, what is left alone.
    Tags are canonical here.
    """

    sets: tuple[SetText, ...] = ()
    rules: Rules = field(default_factory=Rules)

    def of(self, contact: str) -> list[SetText]:
        return [each for each in self.sets if contact in each.people]

    def present(self, contact: str) -> set[str]:
        return {canonical(tag) for each in self.of(contact) for tag in each.tags}

    def kept(self, contact: str) -> set[str]:
        """Present tags that stay when the contact leaves: every set that declares them says so."""
        leaving = {canonical(tag) for each in self.of(contact) if not each.keep for tag in each.tags}
        return self.present(contact) - leaving

    def absent(self, contact: str) -> set[str]:
        present = self.present(contact)
        named = {tag for each in self.of(contact) for tag in each.absent}
        group = set(GROUP) - present if present & set(GROUP) else set()
        return named | group | ({OLD} if self.rules.renamed and NEW in present else set())

    def authority(self, contact: str) -> Authority:
        strength = list(Authority)
        return max((each.authority for each in self.of(contact)), key=strength.index, default=Authority.ADDITIVE)

    def is_left_alone(self, contact: str, tag: str) -> bool:
        return tag == SAFE or any(fnmatchcase(tag, pattern) for each in self.of(contact) for pattern in each.ignore)

    def named(self) -> set[str]:
        """Every tag that the manifests name, in sets or rules."""
        named = {canonical(tag) for each in self.sets for tag in (*each.tags, *each.absent)}
        return named | {*GROUP, SAFE, ONCE, "c"} | ({NEW, OLD} if self.rules.renamed else set())


def write(chance: random.Random, people: Sequence[ContactId], rules: Rules) -> Declared:
    """Another commit of the manifests; what is declared present is never declared absent."""
    return Declared(tuple(_a_set(chance, people, rules, nth) for nth in range(chance.randrange(1, 4))), rules)


def _a_set(chance: random.Random, people: Sequence[ContactId], rules: Rules, nth: int) -> SetText:
    pool = [*PLAIN, SPACED, ONCE, SAFE, NEW if rules.renamed else OLD]
    tags = chance.sample(pool, chance.randrange(0, 4)) + ([chance.choice(GROUP)] if nth == 0 else [])
    members = chance.sample(people, chance.randrange(1, len(people) + 1))
    strangers = chance.choice([[], [], [GONE], [AWAY], [MERGED], [GONE, AWAY, NOBODY]])
    authority = chance.choice([Authority.ADDITIVE] * 3 + [Authority.OWNED, Authority.EXACT])
    return SetText(
        people=(*members, *strangers),
        tags=tuple(tags),
        absent=(UNWANTED,) if chance.random() < 0.3 else (),
        authority=authority,
        keep=chance.random() < 0.3,
        ignore=("wf-*",) if authority is not Authority.ADDITIVE else (),
    )


def as_desired(declared: Declared, location: LocationId, now: Instant) -> Desired:
    """The same, as the product's loader would have handed it over."""
    sets = tuple(_contact_set(f"s{nth}", each) for nth, each in enumerate(declared.sets))
    rules = {rule.tag: rule for rule in declared.rules.values()}
    return resolve([Manifest("manifests/acme.yaml", location, PLACE, sets, rules)], now=now)


def _contact_set(name: str, text: SetText) -> ContactSet:
    return ContactSet(
        name=SetName(name),
        source=PLACE,
        contacts=ListedContacts(text.people, PLACE),
        tags=_uses(text.tags),
        absent=_uses(text.absent),
        authority=text.authority,
        on_leave=OnLeave.KEEP if text.keep else OnLeave.REMOVE,
        ignore=text.ignore,
    )


def _uses(tags: Iterable[str]) -> tuple[TagUse, ...]:
    return tuple(TagUse(Tag(tag), tag, PLACE) for tag in tags)
