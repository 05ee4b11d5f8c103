"""Tags that a location keeps otherwise than they were sent: found in answers, and one tag with what was sent from then.

Rules
1. Two spellings are of one tag where nothing but the spelling sets them apart (`names.folded`), and an answer to an add
   of the one showed the other.
2. Everything is read in one spelling, the one that the location keeps: state where it is loaded, what is desired and
   what a person names where it meets the state. Nothing but this module knows of others.
3. A run calls a tag as the plan did that was approved, also where it learns of another spelling on its way, or one was
   learnt since. Only what it asks for by the spelling that is there, a removal or a search, names that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from reconciler.core.manifests.resolve import Desired, Want
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import Instant, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import ContactOutcome
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.situation import Searched

T = TypeVar("T")
_WILD = str.maketrans({each: f"[{each}]" for each in "*?["})


def aliases_in(tags: TagSet, carried: Iterable[TagSet | None]) -> Iterator[Alias]:
    """The aliases that answers to an add of `tags` tell; `carried` by the contacts afterwards, None where unknown."""
    for observed in {each for each in carried if each is not None}:
        for tag in sorted(tags - observed):
            alike = sorted(each for each in observed - tags if fold_spelling(each) == fold_spelling(tag))
            if alike:
                yield tag, alike[0]


@dataclass(frozen=True, slots=True)
class Spelling:
    """`names`: the one spelling in use of each other one. `kept`: of those in use how the location keeps them, where
    that is another."""

    names: Mapping[Tag, Tag] = field(default_factory=dict)
    kept: Mapping[Tag, Tag] = field(default_factory=dict)

    def of(self, tag: Tag) -> Tag:
        return self.names.get(tag, tag)

    def read(self, tags: TagSet) -> TagSet:
        return tags if self.names.keys().isdisjoint(tags) else frozenset(map(self.of, tags))

    def missing_from(self, tags: TagSet, others: TagSet) -> TagSet:
        """Those of `tags` that are in `others` in no spelling."""
        there = self.read(others)
        return frozenset(tag for tag in tags - others if self.of(tag) not in there)

    def kept_as(self, tag: Tag) -> Tag:
        """How the location keeps the tag."""
        return self.kept.get(tag, tag)

    def all_spellings(self, tag: Tag) -> tuple[Tag, ...]:
        """The tag and its other spellings."""
        return (tag, *(other for other, name in self.names.items() if name == tag))

    def with_learnt(self, found: Iterable[Alias]) -> Spelling:
        """What holds in a run from here on: what came back is the tag that was sent."""
        told = dict(found)
        names = {back: sent for sent, back in told.items()}
        renamed = {tag: names.get(name, name) for tag, name in self.names.items()} | names
        return Spelling({tag: name for tag, name in renamed.items() if tag != name}, {**self.kept, **told})

    def as_called(self, tags: Iterable[Tag]) -> Spelling:
        """These tags are in use as they are spelt here."""
        others = sorted(self.names.keys() & set(tags))
        return self.with_learnt((tag, self.names[tag]) for tag in others) if others else self

    def spell_state(self, known: ContactState) -> ContactState:
        confirmed = self.read(known.ledger - known.unconfirmed)
        return replace(
            known,
            observed=None if known.observed is None else self.read(known.observed),
            ledger=self.read(known.ledger),
            kept=self.read(known.kept),
            doubt=self.read(known.doubt),
            restored=self._dated(known.restored),
            unconfirmed=self.read(known.unconfirmed) - confirmed,
            spent=self._dated(known.spent),
            reading=known.reading and replace(known.reading, tags=self.read(known.reading.tags)),
        )

    def spell_states(self, observed: ContactStates) -> ContactStates:
        return ContactStates(observed.contacts, map(self.spell_state, observed.patterns)) if self.names else observed

    def spell_observed(self, seen: ObservedContacts) -> ObservedContacts:
        return replace(seen, tags=self.read(seen.tags))

    def spell_searched(self, searched: Searched) -> Searched:
        return replace(searched, tags=self.read(searched.tags), complete=self.read(searched.complete))

    def spell_selection(self, selection: Selection) -> Selection:
        return replace(selection, tags=self.read(selection.tags), again=self.read(selection.again))

    def spell_outcome(self, verdict: ContactOutcome) -> ContactOutcome:
        """A tag moved where it came or went in all of its spellings."""
        if verdict.old is None or not self.names:
            return verdict
        old, after = self.read(verdict.old), self.read(verdict.observed or frozenset())
        added, removed = self.read(verdict.added) - old, self.read(verdict.removed) - after
        return replace(verdict, old=old, added=added, removed=removed)

    def spell_record(self, batch: BatchRecord) -> BatchRecord:
        if not self.names:
            return batch
        read = cache(self._answer)
        answers = {contact: read(answer) for contact, answer in batch.answers.items()}
        return replace(batch, tags=tuple(sorted(self.read(frozenset(batch.tags)))), answers=answers)

    def spell_request(self, batch: Batch) -> Batch:
        """A removal as it is sent: by the spellings that are there."""
        return replace(batch, tags=tuple(sorted(map(self.kept_as, batch.tags)))) if self.kept else batch

    def spell_desired(self, desired: Desired) -> Desired:
        """What is desired in two spellings is desired once; present rules over absent, as it does everywhere."""
        if not self.names:
            return desired
        return replace(
            desired,
            wants=tuple(map(self._want, desired.wants)),
            rules=self._rules(desired.rules.values()),
            owned=self.read(desired.owned),
        )

    def _answer(self, answer: Answer) -> Answer:
        verdict = None if answer.verdict is None else self.spell_outcome(answer.verdict)
        released, entered = self.read(answer.released), self.read(answer.entered)
        return replace(answer, verdict=verdict, released=released, entered=entered)

    def _dated(self, dated: tuple[tuple[Tag, Instant], ...]) -> tuple[tuple[Tag, Instant], ...]:
        # sorted by date: of two spellings the later date stays
        ordered = sorted(dated, key=lambda each: each[1])
        return tuple(sorted({self.of(tag): at for tag, at in ordered}.items()))

    def _want(self, want: Want) -> Want:
        present = {tag: tuple(sorted({*sum(sources, ())})) for tag, sources in self._gathered(want.present).items()}
        firm = self.read(frozenset(want.present) - want.keep)
        return replace(
            want,
            present=present,
            absent={tag: causes[0] for tag, causes in self._gathered(want.absent).items() if tag not in present},
            expired={tag: each[0] for tag, each in self._gathered(want.expired).items() if tag not in present},
            keep=self.read(want.keep) - firm,
            ignore=(*want.ignore, *self._ignored(want.ignore)),
        )

    def _gathered(self, found: Mapping[Tag, T]) -> dict[Tag, list[T]]:
        gathered: defaultdict[Tag, list[T]] = defaultdict(list)
        for tag in sorted(found):
            gathered[self.of(tag)].append(found[tag])
        return dict(sorted(gathered.items()))

    def _ignored(self, patterns: Iterable[str]) -> Iterator[str]:
        """What a pattern leaves alone by another spelling."""
        for other, tag in sorted(self.names.items()):
            if any(fnmatchcase(other, pattern) for pattern in patterns):
                yield tag.translate(_WILD)

    def _rules(self, rules: Iterable[TagRule]) -> dict[Tag, TagRule]:
        found: dict[Tag, TagRule] = {}
        for rule in rules:
            tag = self.of(rule.tag)
            before = None if rule.renamed_from is None else self.of(rule.renamed_from)
            named = replace(rule, tag=tag, renamed_from=None if before == tag else before)
            found[tag] = _merge_rules(found[tag], named) if tag in found else named
        return found


AS_SENT = Spelling()
"""Every tag in the spelling that it has."""


def make_spelling(aliases: Iterable[Alias]) -> Spelling:
    """Every tag in the spelling that the location keeps."""
    told = dict(aliases)
    return Spelling({tag: kept for tag in told if (kept := _final_spelling(tag, told)) != tag}) if told else AS_SENT


def _final_spelling(tag: Tag, told: Mapping[Tag, Tag]) -> Tag:
    """What comes back of it in the end; the first of those that come back for one another."""
    passed = [tag]
    while (back := told.get(passed[-1])) is not None:
        if back in passed:
            return min(passed[passed.index(back) :])
        passed.append(back)
    return passed[-1]


def _merge_rules(one: TagRule, other: TagRule) -> TagRule:
    """Two rules of one tag: what either forbids."""
    return replace(
        one,
        group=one.group or other.group,
        max_adds=_stricter_limit(one.max_adds, other.max_adds),
        max_removes=_stricter_limit(one.max_removes, other.max_removes),
        min_holders=max((each for each in (one.min_holders, other.min_holders) if each is not None), default=None),
        protected=one.protected or other.protected,
        triggers=one.triggers or other.triggers,
        once=one.once or other.once,
        inert=one.inert and other.inert,
        exclusive=one.exclusive or other.exclusive,
        renamed_from=one.renamed_from or other.renamed_from,
    )


def _stricter_limit(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
