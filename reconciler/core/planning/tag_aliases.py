"""Tags that a location keeps otherwise than they were sent: answers tell, and from then both spellings are one tag.

Rules
1. Two spellings are of one tag where only the spelling sets them apart (`fold_spelling`), and an answer to an add
   of the one showed the other.
2. All values are read in one spelling, the one that the location keeps: state where it is loaded, desired tags and
   those that a person names where they meet the state. Nothing but this module knows of others.
3. A run calls a tag as the approved plan did, also where it learns of another spelling on its way, or one was learnt
   since. Only a removal or a search, which has to ask for the spelling that is there, names that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import Want
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import ContactOutcome
from reconciler.core.model.release_rules import TagPace
from reconciler.core.model.state_fields import respell_state
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.situation import Searched

T = TypeVar("T")
# a tag is no pattern: its own wildcards are escaped where it joins `ignore`
_WILD = str.maketrans({char: f"[{char}]" for char in "*?["})


def aliases_in(tags: TagSet, carried: Iterable[TagSet | None]) -> Iterator[Alias]:
    """The aliases that answers to an add of `tags` tell; `carried` by the contacts afterwards, None where unknown."""
    # contacts that are answered alike carry one set, which is looked at once
    for observed in {tags for tags in carried if tags is not None}:
        for tag in sorted(tags - observed):
            alike = sorted(back for back in observed - tags if fold_spelling(back) == fold_spelling(tag))
            if alike:
                yield tag, alike[0]


@dataclass(frozen=True, slots=True)
class Spelling:
    """One spelling for each tag."""

    names: Mapping[Tag, Tag] = field(default_factory=dict)
    """The spelling in use, by each of its variants."""
    kept: Mapping[Tag, Tag] = field(default_factory=dict)
    """How the location keeps a tag, by the spelling in use, where they differ."""

    def of(self, tag: Tag) -> Tag:
        return self.names.get(tag, tag)

    def read(self, tags: TagSet) -> TagSet:
        return tags if self.names.keys().isdisjoint(tags) else frozenset(map(self.of, tags))

    def missing_from(self, tags: TagSet, present: TagSet) -> TagSet:
        """Those of `tags` that are in `present` in no spelling."""
        there = self.read(present)
        return frozenset(tag for tag in tags - present if self.of(tag) not in there)

    def kept_as(self, tag: Tag) -> Tag:
        """How the location keeps the tag."""
        return self.kept.get(tag, tag)

    def all_spellings(self, tag: Tag) -> tuple[Tag, ...]:
        """The tag and its other spellings."""
        return (tag, *(variant for variant, name in self.names.items() if name == tag))

    def with_learnt(self, aliases: Iterable[Alias]) -> Spelling:
        """The spelling of a run from here on: a tag that came back otherwise is the tag that was sent."""
        kept = dict(aliases)
        # rule 3: the other way round than `make_spelling`, as the approved plan names the tag that was sent
        names = {back: sent for sent, back in kept.items()}
        renamed = {tag: names.get(name, name) for tag, name in self.names.items()} | names
        return Spelling({tag: name for tag, name in renamed.items() if tag != name}, {**self.kept, **kept})

    def as_called(self, tags: Iterable[Tag]) -> Spelling:
        """The spelling in which these tags are in use as they are spelt here."""
        variants = sorted(self.names.keys() & set(tags))
        return self.with_learnt((tag, self.names[tag]) for tag in variants) if variants else self

    def spell_state(self, state: ContactState) -> ContactState:
        # where one spelling of the pair was confirmed, the tag is there
        confirmed = self.read(state.ledger.tags - state.ledger.unconfirmed)
        respelt = respell_state(state, self.read)
        return replace(respelt, ledger=replace(respelt.ledger, unconfirmed=respelt.ledger.unconfirmed - confirmed))

    def spell_states(self, observed: ContactStates) -> ContactStates:
        return ContactStates(observed.contacts, map(self.spell_state, observed.patterns)) if self.names else observed

    def spell_observed(self, seen: ObservedContacts) -> ObservedContacts:
        return replace(seen, tags=self.read(seen.tags))

    def spell_searched(self, searched: Searched) -> Searched:
        return replace(searched, tags=self.read(searched.tags), complete=self.read(searched.complete))

    def spell_selection(self, selection: Selection) -> Selection:
        return replace(selection, tags=self.read(selection.tags), again=self.read(selection.again))

    def spell_outcome(self, verdict: ContactOutcome) -> ContactOutcome:
        # a tag moved only where it came or went in all of its spellings
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
        """A removal as it is sent: by the spellings that the location keeps."""
        return replace(batch, tags=tuple(sorted(map(self.kept_as, batch.tags)))) if self.kept else batch

    def spell_desired(self, desired: Desired) -> Desired:
        # present rules over absent, as in `resolve`: a tag may be desired in one spelling and absent in another
        if not self.names:
            return desired
        return replace(
            desired,
            wants=tuple(map(self._want, desired.wants)),
            rules=self._spell_rules(desired.rules.values()),
            owned=self.read(desired.owned),
        )

    def _answer(self, answer: Answer) -> Answer:
        verdict = None if answer.verdict is None else self.spell_outcome(answer.verdict)
        released, entered = self.read(answer.released), self.read(answer.entered)
        return replace(answer, verdict=verdict, released=released, entered=entered)

    def _want(self, want: Want) -> Want:
        present = {
            tag: tuple(sorted({*sum(sources, ())})) for tag, sources in self._gather_spellings(want.present).items()
        }
        # a tag stays on leaving only where no spelling of it is to go
        firm = self.read(frozenset(want.present) - want.keep)
        return replace(
            want,
            present=present,
            absent=self._first_spellings(want.absent, present),
            expired=self._first_spellings(want.expired, present),
            keep=self.read(want.keep) - firm,
            ignore=(*want.ignore, *self._ignored_tags(want.ignore)),
        )

    def _first_spellings(self, values: Mapping[Tag, T], present: Container[Tag]) -> dict[Tag, T]:
        return {tag: alike[0] for tag, alike in self._gather_spellings(values).items() if tag not in present}

    def _gather_spellings(self, values: Mapping[Tag, T]) -> dict[Tag, list[T]]:
        gathered: defaultdict[Tag, list[T]] = defaultdict(list)
        for tag in sorted(values):
            gathered[self.of(tag)].append(values[tag])
        return dict(sorted(gathered.items()))

    def _ignored_tags(self, patterns: Iterable[str]) -> Iterator[str]:
        """The tags that a pattern leaves alone by another of their spellings."""
        for variant, tag in sorted(self.names.items()):
            if any(fnmatchcase(variant, pattern) for pattern in patterns):
                yield tag.translate(_WILD)

    def _spell_rules(self, rules: Iterable[TagRule]) -> dict[Tag, TagRule]:
        by_tag: dict[Tag, TagRule] = {}
        for rule in rules:
            tag = self.of(rule.tag)
            before = None if rule.renamed_from is None else self.of(rule.renamed_from)
            named = replace(rule, tag=tag, renamed_from=None if before == tag else before)
            by_tag[tag] = _merge_rules(by_tag[tag], named) if tag in by_tag else named
        return by_tag


AS_SENT = Spelling()
"""Every tag in the spelling that it has."""


def make_spelling(aliases: Iterable[Alias]) -> Spelling:
    """Every tag in the spelling that the location keeps."""
    kept = dict(aliases)
    return Spelling({tag: name for tag in kept if (name := _final_spelling(tag, kept)) != tag}) if kept else AS_SENT


def _final_spelling(tag: Tag, kept: Mapping[Tag, Tag]) -> Tag:
    """The spelling that a chain of aliases ends in."""
    passed = [tag]
    while (back := kept.get(passed[-1])) is not None:
        # a circle: two spellings came back for one another, and the first by name stands for both
        if back in passed:
            return min(passed[passed.index(back) :])
        passed.append(back)
    return passed[-1]


def _merge_rules(first: TagRule, second: TagRule) -> TagRule:
    """One rule of two for one tag: the stricter of each; of two groups, old names or windows the first."""
    return replace(
        first,
        group=first.group or second.group,
        max_adds=_stricter_limit(first.max_adds, second.max_adds),
        max_removes=_stricter_limit(first.max_removes, second.max_removes),
        min_holders=max(
            (floor for floor in (first.min_holders, second.min_holders) if floor is not None), default=None
        ),
        protected=first.protected or second.protected,
        triggers=first.triggers or second.triggers,
        once=first.once or second.once,
        inert=first.inert and second.inert,
        exclusive=first.exclusive or second.exclusive,
        renamed_from=first.renamed_from or second.renamed_from,
        pace=_slower_pace(first.pace, second.pace),
        window=first.window or second.window,
    )


def _stricter_limit(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _slower_pace(*paces: TagPace | None) -> TagPace | None:
    """One that keeps both."""
    given = [pace for pace in paces if pace is not None]
    return TagPace(min(pace.adds for pace in given), max(pace.per_ms for pace in given)) if given else None
