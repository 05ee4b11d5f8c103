"""The books of a run: how far it is, which pairs are in doubt, which facts the location taught it.

Rule: each book is changed by its own methods only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Alias, LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE, ContactState
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome
from reconciler.core.model.safe_text import path_word
from reconciler.core.planning.guards import Counts
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.slow_release import Release


@dataclass(frozen=True, slots=True)
class KnownWrite:
    """A request of this run that changed the contact's tags, sent and answered at these instants."""

    contact: ContactId
    sent: Instant
    answered: Instant
    after: TagSet


@dataclass(frozen=True, slots=True)
class SentInDoubt:
    """The tags that requests of this run tried to add to a contact, or to remove from it, with unknown effect."""

    adds: TagSet = NONE
    removes: TagSet = NONE


_NOTHING_SENT = SentInDoubt()


@dataclass(frozen=True, slots=True)
class UnseenRemoval:
    """Removals that left at `sent` and were refused as a whole; no reading showed, late enough, their effect."""

    batch: Batch
    sent: Instant
    message: str


@dataclass(slots=True)
class RunProgress:
    """How far a run is."""

    outside: int
    """Pairs that turned out to be needed, and were not approved."""
    rounds: int = 0
    adopted: int = 0
    released: int = 0
    extra: int = 0
    """Requests spent on taking apart batches that were refused as a whole."""
    silent: int = 0
    """Requests of unknown effect in a row."""
    answered: bool = False
    """Whether a write was answered: token and location are right then."""
    disbelieved: bool = False
    """Whether so many contacts were refused that it is not believed of any."""
    counts: Counts = field(default_factory=Counts)
    """Pairs and requests sent so far, as the guards count them."""
    new_holders: Counter[Tag] = field(default_factory=Counter)
    """Holders that answers showed among contacts never observed before."""
    rejected: dict[ContactId, ContactState] = field(default_factory=dict)
    """Contacts that the API refused, with their states before; durable at the end of the run only."""
    recovery_files: list[str] = field(default_factory=list)
    """One an answer that the state did not take; empty where no place took it either."""
    notes: list[str] = field(default_factory=list)
    release: Release = field(default_factory=Release)
    """The additions of slowly given tags that wait."""
    is_cut: bool = False
    """Whether contacts beyond the first ones of a canary were left to another run."""

    def set_release(self, release: Release) -> None:
        self.release = release

    def start_round(self) -> int:
        self.rounds += 1
        return self.rounds

    def set_outside(self, pairs: int) -> None:
        self.outside = pairs

    def add_counts(self, counts: Counts) -> None:
        self.counts = self.counts + counts

    def begin_slice(self) -> None:
        """The requests of the slices before count no more; their pairs do."""
        self.counts = replace(self.counts, requests=0)

    def add_ledger_change(self, *, adopted: int, released: int) -> None:
        self.adopted += adopted
        self.released += released

    def add_note(self, text: str) -> None:
        """A line of the report, once."""
        if text not in self.notes:
            self.notes.append(text)

    def cut(self, why: str) -> None:
        self.is_cut = True
        self.add_note(why)

    def count_extra(self) -> int:
        self.extra += 1
        return self.extra

    def count_silent(self) -> int:
        self.silent += 1
        return self.silent

    def set_answered(self) -> None:
        self.silent, self.answered = 0, True

    def disbelieve_absences(self) -> None:
        self.disbelieved = True

    def add_rejected(self, before: Mapping[ContactId, ContactState]) -> None:
        self.rejected |= before

    def add_first_observations(self, answer: ContactOutcome, contacts: int) -> None:
        """Counts the tags of so many contacts that were never observed before, and were answered alike."""
        if answer.old is not None:
            self.new_holders.update(dict.fromkeys(answer.old, contacts))
            # a blind removal counted as no holder lost, as none was known: its answer shows the one that is lost
            self.counts.lost.update(dict.fromkeys(answer.removed, contacts))

    def add_recovery_file(self, path: str) -> None:
        self.recovery_files.append(path)


@dataclass(slots=True)
class DoubtBook:
    """Pairs of unknown effect, with the run's attempts to settle them."""

    sent: dict[ContactId, SentInDoubt] = field(default_factory=dict)
    """The doubts of this run."""
    sought: frozenset[ContactId] = frozenset()
    """Contacts that earlier runs left in doubt, and this one set out to settle."""
    tried: dict[ContactId, TagSet] = field(default_factory=dict)
    """Tags that were sent once more after a doubt: there is no third time."""
    proven: dict[ContactId, TagSet] = field(default_factory=dict)
    """Adds that a reading proved never to have taken effect."""
    unseen: list[UnseenRemoval] = field(default_factory=list)

    def add(self, contact: ContactId, action: Action, tags: TagSet) -> None:
        """A request of this run left the contact in doubt."""
        sent = self.sent_to(contact)
        adding = action is Action.ADD
        more = (sent.adds | tags, sent.removes) if adding else (sent.adds, sent.removes | tags)
        self.sent[contact] = SentInDoubt(*more)

    def sent_to(self, contact: ContactId) -> SentInDoubt:
        return self.sent.get(contact, _NOTHING_SENT)

    def contacts_with(self, contacts: Iterable[ContactId], tags: TagSet) -> set[ContactId]:
        """Those with a pair that a request of this run left in doubt, be it one that an earlier request applied."""
        doubted = self.sent.keys() & set(contacts)
        return {each for each in doubted if not tags.isdisjoint(self.sent[each].adds | self.sent[each].removes)}

    def remove(self, contact: ContactId) -> None:
        self.sent.pop(contact, None)

    def clear(self) -> None:
        self.sent.clear()

    def set_sought(self, contacts: Iterable[ContactId]) -> None:
        self.sought = frozenset(contacts)

    def tags_tried(self, contact: ContactId) -> TagSet:
        return self.tried.get(contact, NONE)

    def add_tried(self, contact: ContactId, tags: TagSet) -> None:
        self.tried[contact] = self.tags_tried(contact) | tags

    def tags_proven(self, contact: ContactId) -> TagSet:
        return self.proven.get(contact, NONE)

    def add_proven(self, contact: ContactId, tags: TagSet) -> None:
        self.proven[contact] = self.tags_proven(contact) | tags

    def add_unseen(self, removal: UnseenRemoval) -> None:
        self.unseen.append(removal)


@dataclass(slots=True)
class LocationBook:
    """The location's state and its desired tags, in the run's spelling of tags, and the facts of the run's own."""

    state: LocationState
    desired: Desired
    refused: dict[Tag, str] = field(default_factory=dict)
    """Tags that no request may hold, and the API's words about them."""
    trial: Batch | None = None
    """The one batch that is larger than was learnt, to see whether that still holds."""
    writes: tuple[KnownWrite, ...] = ()
    """The last known writes to two contacts."""
    write_was_read: bool = False
    """Whether one of them was read, to learn of its date."""

    def set_facts(self, facts: LocationFacts) -> None:
        self.state = replace(self.state, facts=facts)

    def learn_alias(self, alias: Alias) -> None:
        """From here on the run reads the tag that came back as the one that was sent."""
        spelling = self.state.spelling.with_learnt([alias])
        self.state = replace(self.state, spelling=spelling, observed=spelling.spell_states(self.state.observed))
        self.desired = spelling.spell_desired(self.desired)

    def refuse_tags(self, tags: Iterable[Tag], message: str) -> None:
        self.refused |= dict.fromkeys(tags, message)

    def set_trial(self, batch: Batch | None) -> None:
        self.trial = batch

    def add_write(self, write: KnownWrite) -> None:
        """Keeps the write, with the last one to another contact: one alone may have been edited by others."""
        earlier = [before for before in self.writes if before.contact != write.contact]
        self.writes = (*earlier[-1:], write)

    def take_last_write(self) -> tuple[KnownWrite, ...]:
        """The last write, the first time; none later: a reading that told nothing is not repeated."""
        writes = () if self.write_was_read else self.writes[-1:]
        self.write_was_read = self.write_was_read or bool(writes)
        return writes

    def take_writes(self) -> tuple[KnownWrite, ...]:
        writes, self.writes = self.writes, ()
        return writes


def name_recovery_files(report: LocationReport, files: Sequence[str]) -> LocationReport:
    """Names every emergency journal, and the command that takes them in. Answers that no place took are in doubt."""
    places, lost = [place for place in files if place], sum(not place for place in files)
    error, hint = report.error, report.hint
    if places:
        error += f"; what was answered is in {', '.join(places)}"
        quoted = " ".join(map(path_word, places))
        hint = (
            "once the state can be written, and before the next run, with --state where this one had it: "
            f"reconciler state recover {quoted}"
        )
    if lost:
        plural = "s" * (lost > 1)
        error += f"; {lost:,} answer{plural} could be written nowhere: its contacts are in doubt until they are read"
    return replace(report, error=error, hint=hint)
