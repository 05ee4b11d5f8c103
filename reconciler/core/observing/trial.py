"""The requests and answers of `doctor --try CONTACT`, as `trial_rows` judges them. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.names import Instant
from reconciler.core.model.safe_text import visible

PREFIX = "reconciler-try-"
"""Every tag of a trial begins so: one that is left behind can be told from all others."""
OLD_VERSION = "2000-01-01"
"""No version of the API."""


@dataclass(frozen=True, slots=True)
class TrialTags:
    """The tags that a trial adds, as they are sent; each asks one question."""

    plain: str
    case: str
    trim: str
    spaces: str
    marks: str

    @staticmethod
    def make(token: str) -> TrialTags:
        base = PREFIX + token
        return TrialTags(f"{base}-plain", f"{base}-Case", f" {base}-trim ", f"{base}-two  spaces", f"{base}-e\u0301")

    @property
    def sent(self) -> tuple[str, ...]:
        return (self.plain, self.case, self.trim, self.spaces, self.marks)


@dataclass(frozen=True, slots=True)
class ShownContact:
    """A contact as a read shows it, its tags as they are spelt there."""

    id: str
    tags: frozenset[str]
    updated: Instant | None
    location: str = ""
    """Empty where it is not told."""


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """The answer to a bulk request of one contact. `added`, `removed`: as they are spelt there; None: not a list."""

    status: int
    kind: Literal["object", "text", "none"]
    contact: str = ""
    type: str = ""
    message: str = ""
    added: tuple[str, ...] | None = None
    removed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A request that was refused. `known`: whether its words are among those that the product believes."""

    status: int
    said: tuple[str, ...]
    known: bool = False
    limit: int | None = None
    """The size that its message names."""

    @property
    def words(self) -> str:
        return f"{self.status} {visible('; '.join(self.said))[:120]}".strip()


@dataclass(frozen=True, slots=True)
class TrialAnswers:
    """The answers of a trial in their order; None: not asked, or no answer that could be read."""

    tags: TrialTags
    sent_id: str
    before: ShownContact
    added: WrittenRow | RefusedCall | None = None
    after_add: ShownContact | None = None
    read_after_ms: int = 0
    """The time between the answer of the add and the read."""
    again: WrittenRow | RefusedCall | None = None
    after_again: ShownContact | None = None
    shown_after_ms: int | None = None
    """The time until a search showed the tag; None: it did not within `searched_ms`."""
    searched_ms: int = 0
    version: RefusedCall | Literal["taken"] | None = None
    missing: RefusedCall | Literal["found"] | None = None
    sized: WrittenRow | RefusedCall | None = None
    sized_tags: int = 0
    removed: WrittenRow | RefusedCall | None = None
    """The answer to a removal of the trial's tags alone, where the large one was refused."""
    after_sized: ShownContact | None = None
    quotas: tuple[Quota, ...] = ()

    @property
    def kept(self) -> Mapping[str, str]:
        """How the sent tags are kept, by the first read that shows all of them; empty where none does."""
        # where reads lag, the second one shows them
        for shown in (self.after_add, self.after_again):
            kept = find_kept(self.tags.sent, shown.tags - self.before.tags) if shown else {}
            if len(kept) == len(self.tags.sent):
                return kept
        return {}

    @property
    def taken_away(self) -> Collection[str] | None:
        """The sent tags that the row of the removal names as removed; None where no row tells."""
        removal = self.sized if isinstance(self.sized, WrittenRow) else self.removed
        if not isinstance(removal, WrittenRow) or removal.removed is None:
            return None
        return find_kept(self.tags.sent, removal.removed).keys()

    @property
    def refused_without_effect(self) -> bool | None:
        """Whether the add, which was refused, added nothing; None where nothing tells: a read may be of before it."""
        if self.after_add is not None and list_left(self.after_add.tags - self.before.tags):
            return False
        return None if self.taken_away is None else not self.taken_away

    @property
    def reads_what_is(self) -> bool:
        """Whether the read after the add showed its tag."""
        return self.after_add is not None and bool(find_kept([self.tags.plain], self.after_add.tags))


def find_kept(sent: Iterable[str], tags: Iterable[str]) -> dict[str, str]:
    """For each sent tag the one among `tags` that differs from it by case, blanks and composition alone."""
    # tags that differ by these alone are one for the vendor, or would be one
    by_form = {_form(tag): tag for tag in tags}
    return {tag: by_form[_form(tag)] for tag in sent if _form(tag) in by_form}


def _form(tag: str) -> str:
    return " ".join(unicodedata.normalize("NFC", tag).casefold().split())


def list_left(tags: Iterable[str]) -> list[str]:
    """The tags of trials among these."""
    return sorted(tag for tag in tags if _form(tag).startswith(PREFIX))


def is_proven_clean(answers: TrialAnswers) -> bool:
    """Whether the tags are known to be gone, as reads show what is, or a row names each of them as removed."""
    if answers.added is None or answers.kept:
        return True
    if isinstance(answers.added, RefusedCall):
        # whatever a refused add did, a removal that was answered undid it
        return answers.taken_away is not None
    return len(answers.taken_away or ()) == len(answers.tags.sent)
