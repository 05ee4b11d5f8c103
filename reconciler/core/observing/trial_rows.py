"""The rows of `doctor --try`: answers about one contact, judged against the assumptions of the product. Pure.

Rules
1. A row is settled by answers alone: one that is missing, or that another may explain, leaves its rows open.
2. A read settles how a tag is kept, never the row of the write: that may repeat the words of the request.
3. `docs/assumptions.md` names the row that settles an assumption, and `TRIAL_ROWS` has what a deviation changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.core.model.api_limits import LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import UNAUTHORIZED, is_version_refused
from reconciler.core.model.safe_text import visible
from reconciler.core.observing.trial import (
    OLD_VERSION,
    RefusedCall,
    TrialAnswers,
    TrialTags,
    WrittenRow,
    find_kept,
)

_IS_UNKNOWN = re.compile(r"\b(exist|unknown|no such|not found|not a valid tag|invalid tag)", re.IGNORECASE)
"""Words of an API that makes no tag by adding it; nobody has seen one."""
_Judged = tuple[TrialVerdict, str]
_Judge = Callable[[TrialAnswers], _Judged]


def _as_assumed(found: str) -> _Judged:
    return TrialVerdict.AS_ASSUMED, found


def _otherwise(found: str) -> _Judged:
    return TrialVerdict.OTHERWISE, found


def _open(found: str) -> _Judged:
    return TrialVerdict.OPEN, found


def _settle(*, holds: bool, found: str, otherwise: str) -> _Judged:
    return _as_assumed(found) if holds else _otherwise(otherwise)


def _judge_status(answers: TrialAnswers) -> _Judged:
    if isinstance(answers.added, WrittenRow):
        status = answers.added.status
        return _settle(holds=status == 201, found="an add answered 201", otherwise=f"an add answered {status}")
    return _open("the add was not answered" if answers.added is None else f"it was refused: {answers.added.words}")


def _judge_shape(answers: TrialAnswers) -> _Judged:
    row = answers.added
    if not isinstance(row, WrittenRow):
        return _open("there is no row")
    # by the vendor's schema they are texts, by its examples objects
    if row.kind == "text":
        return _otherwise("rows are texts that hold JSON")
    lists = row.added is not None and row.removed is not None
    holds = (row.kind, row.contact, row.type, lists) == ("object", answers.sent_id, "success", True)
    return _settle(holds=holds, found="an object with contactId, type and lists", otherwise="the row lacks members")


def _judge_changes(answers: TrialAnswers) -> _Judged:
    row, kept = answers.added, answers.kept
    if not isinstance(row, WrittenRow) or row.added is None or not kept:
        return _open("no row, or no read, that tells")
    holds = set(row.added) == set(kept.values())
    # where no tag is kept otherwise, both readings of tagsAdded are the same
    if holds and set(kept) == set(kept.values()):
        return _open("all tags are kept as they were sent: see no-op")
    return _settle(holds=holds, found="tagsAdded has the tags as they are kept", otherwise="tagsAdded has other tags")


def _judge_new_tags(answers: TrialAnswers) -> _Judged:
    match answers.added:
        case WrittenRow(type="success"):
            return _as_assumed("a tag that never was is made by adding it")
        # what is refused for its size, or for a tag's length, says nothing of tags that are new
        case RefusedCall() as refused if answers.refused_without_effect and _IS_UNKNOWN.search(refused.words):
            return _otherwise(f"refused: {refused.words}")
        case RefusedCall() as refused:
            return _open(f"refused, and not as unknown: {refused.words}")
    return _open("there is no row of success")


def _judge_spelling(pick: Callable[[TrialTags], str], holds: Callable[[str], bool]) -> _Judge:
    """A row on how one tag is kept; `holds`: whether it is kept as is assumed."""

    def judge(answers: TrialAnswers) -> _Judged:
        sent = pick(answers.tags)
        kept = answers.kept.get(sent)
        if kept is None:
            return _open("no read shows the tag")
        words = f"'{_spell_out(sent)}' is kept as '{_spell_out(kept)}'"
        return _settle(holds=holds(kept), found=words, otherwise=words)

    return judge


def _spell_out(tag: str) -> str:
    """Letters beyond ASCII by their numbers: two spellings of one with a mark look alike."""
    return "".join(letter if letter.isascii() else f"<U+{ord(letter):04X}>" for letter in visible(tag))


def _judge_noop(answers: TrialAnswers) -> _Judged:
    row = answers.again
    if not isinstance(row, WrittenRow) or row.added is None:
        return _open("there is no row")
    there = f"tagsAdded names {len(row.added)} tags that were there"
    return _settle(holds=not row.added, found="tagsAdded is empty", otherwise=there)


def _judge_moved(answers: TrialAnswers) -> _Judged:
    before, after = answers.before.updated, answers.after_add.updated if answers.after_add else None
    # a copy from before the write shows the date from before it
    if before is None or after is None or not answers.reads_what_is:
        return _open("no two dates that tell")
    return _settle(holds=after > before, found="it moved", otherwise="it did not move")


def _judge_unmoved(answers: TrialAnswers) -> _Judged:
    first, second = (shown.updated if shown else None for shown in (answers.after_add, answers.after_again))
    # an add that failed leaves the date alone, and settles nothing
    noop = isinstance(answers.again, WrittenRow) and answers.again.type == "success"
    if first is None or second is None or not answers.reads_what_is or not noop:
        return _open("no two dates that tell")
    return _settle(holds=second == first, found="it did not move", otherwise="it moved")


def _judge_current(answers: TrialAnswers) -> _Judged:
    if answers.after_add is None or not isinstance(answers.added, WrittenRow) or answers.added.type != "success":
        return _open("there is no read after an add")
    words = f"{answers.read_after_ms:,} ms after the answer"
    return _settle(
        holds=answers.reads_what_is, found=f"a read showed the tags {words}", otherwise=f"a read lacked them {words}"
    )


def _judge_id(answers: TrialAnswers) -> _Judged:
    holds = answers.before.id == answers.sent_id
    return _settle(holds=holds, found="the id that was asked for", otherwise="another id than was asked for")


def _judge_lag(answers: TrialAnswers) -> _Judged:
    if answers.shown_after_ms is not None:
        return _as_assumed(f"a search showed the tag within {answers.shown_after_ms / 1000:.0f} s")
    if not answers.searched_ms:
        return _open("not asked")
    return _open(f"no search showed the tag within {answers.searched_ms / 1000:.0f} s; 5 minutes are counted on")


def _judge_headers(answers: TrialAnswers) -> _Judged:
    if not answers.quotas:
        return _open("there is no answer")
    named = ("limit", "remaining", "window_ms", "daily_limit", "daily_remaining", "daily_reset")
    # a proxy may drop headers of some answers
    lacking = sorted({name for quota in answers.quotas for name in named if getattr(quota, name) is None})
    count = len(answers.quotas)
    return _settle(
        holds=not lacking,
        found=f"all six headers of the rate limit in {count} answers",
        otherwise=f"of {count} answers some lack {', '.join(lacking)}",
    )


def _judge_version(answers: TrialAnswers) -> _Judged:
    refused = answers.version
    if not isinstance(refused, RefusedCall):
        return _open("not asked") if refused is None else _otherwise(f"Version {OLD_VERSION} is taken")
    holds = refused.status == 400 and is_version_refused(refused.status, refused.said)
    return _settle(holds=holds, found=refused.words, otherwise=refused.words)


def _judge_absence(answers: TrialAnswers) -> _Judged:
    refused = answers.missing
    if not isinstance(refused, RefusedCall):
        return _open("not asked") if refused is None else _otherwise("a made-up id was found")
    # a token that is refused tells nothing of the contact
    if refused.status == UNAUTHORIZED:
        return _open(refused.words)
    return _settle(holds=refused.known, found=refused.words, otherwise=refused.words)


def _judge_size(answers: TrialAnswers) -> _Judged:
    asked = f"a request with {answers.sized_tags} tags"
    match answers.sized:
        case RefusedCall() as refused:
            # tags that a later removal finds there were not removed by this one
            had_no_effect = isinstance(answers.removed, WrittenRow) and bool(answers.removed.removed)
            if refused.limit is None and not had_no_effect:
                return _open(f"{asked}: {refused.words}; it may have taken effect")
            return _otherwise(f"{asked}: {refused.words}")
        # a copy from before the trial lacks its tags, whatever the request did
        case WrittenRow() if answers.after_sized is not None and answers.reads_what_is:
            # those of earlier trials may not have been in the request
            left = find_kept(answers.tags.sent, answers.after_sized.tags)
            return _settle(holds=not left, found=f"{asked} took effect", otherwise=f"{asked} did a part of it")
    return _open("not asked, or no read that tells")


def _judge_refused(answers: TrialAnswers) -> _Judged:
    if isinstance(answers.added, RefusedCall):
        if (holds := answers.refused_without_effect) is None:
            return _open("an add was refused, and nothing tells what it did")
        return _settle(holds=holds, found="a refused add added nothing", otherwise="a refused add took effect")
    if not isinstance(answers.sized, RefusedCall) or not isinstance(answers.removed, WrittenRow):
        return _open("nothing was refused")
    there = bool(answers.removed.removed)
    return _settle(holds=there, found="a refused removal removed nothing", otherwise="a refused removal took effect")


@dataclass(frozen=True, slots=True)
class TrialQuestion:
    """An assumption that a trial may settle."""

    name: str
    about: str
    judge: _Judge
    deviation: str
    """The consequence where it is other than assumed."""
    warns: bool = False
    """Whether plan and apply warn of a deviation: nothing in the product goes by it."""


TRIAL_ROWS = (
    TrialQuestion("status", "a bulk request answers 201", _judge_status, "nothing: any 2xx is taken"),
    TrialQuestion("row-shape", "rows are objects", _judge_shape, "nothing for texts; other rows are in doubt and read"),
    TrialQuestion(
        "changes",
        "tagsAdded has what changed, as it is kept",
        _judge_changes,
        "answers that contradict themselves are in doubt, and read",
    ),
    TrialQuestion(
        "new-tags",
        "a tag is made by adding it",
        _judge_new_tags,
        "make a new tag by hand before a manifest names it, or its add ends the run",
        warns=True,
    ),
    TrialQuestion(
        "case",
        "tags are kept in lower case",
        _judge_spelling(lambda tags: tags.case, lambda kept: kept == kept.lower()),
        "a tag with capitals that others added counts as the one without; its removal is held",
        warns=True,
    ),
    TrialQuestion(
        "trim",
        "white space around a tag is dropped",
        _judge_spelling(lambda tags: tags.trim, lambda kept: kept == kept.strip()),
        "a tag with blanks that others added counts as the one without; its removal is held",
        warns=True,
    ),
    TrialQuestion(
        "spaces",
        "white space inside a tag stays",
        _judge_spelling(lambda tags: tags.spaces, lambda kept: "  " in kept),
        "the spelling that comes back is learnt for each tag: one tag from then on",
    ),
    TrialQuestion(
        "unicode",
        "letters with marks stay as they are",
        _judge_spelling(lambda tags: tags.marks, lambda kept: kept != unicodedata.normalize("NFC", kept)),
        "the spelling that comes back is learnt for each tag: one tag from then on",
    ),
    TrialQuestion("no-op", "adding what is there changes nothing", _judge_noop, "such rows are in doubt, and read"),
    TrialQuestion(
        "date-moved",
        "a write of tags moves dateUpdated",
        _judge_moved,
        "a lost add that is not there is held, and never sent again by itself",
    ),
    TrialQuestion(
        "date-unmoved",
        "a write that changes nothing leaves dateUpdated",
        _judge_unmoved,
        "a lost add of what was there looks as if it had changed something: held",
    ),
    TrialQuestion(
        "current-read",
        "a read shows what is",
        _judge_current,
        "a doubt is settled by a read, 90 s later by default: keep that time above the lag",
        warns=True,
    ),
    TrialQuestion(
        "read-id",
        "a contact is shown under the id that was asked for",
        _judge_id,
        "such a reading is set aside: doubts stay, and refresh --method get tells nothing",
        warns=True,
    ),
    TrialQuestion("search-lag", "a search lags by less than 5 minutes", _judge_lag, "a search is not believed"),
    TrialQuestion(
        "headers",
        "answers tell the limits and what is left of them",
        _judge_headers,
        "the settings api.requests_per_10s and …_per_day hold, and the day ends at midnight of UTC",
    ),
    TrialQuestion(
        "version",
        "an unknown Version is refused with 400 and named",
        _judge_version,
        "401 ends a run alike; other words are taken for the refusal of one request",
    ),
    TrialQuestion(
        "absence",
        "a contact that is not there is said to be so in known words",
        _judge_absence,
        "a contact that is gone stays unread, and in doubt where it was: `state forget` ends that",
        warns=True,
    ),
    TrialQuestion(
        "size",
        "a request holds as many tags as api.max_tags",
        _judge_size,
        "a size that the refusal names is heeded for 7 days; if it names none, plan and apply warn: set api.max_tags",
    ),
    TrialQuestion(
        "refused-effect",
        "a refused request has no effect",
        _judge_refused,
        "none: a refused request is looked at before anything is sent again",
    ),
)


def judge_answers(answers: TrialAnswers, now: Instant) -> tuple[TriedRow, ...]:
    """The rows in the order of `TRIAL_ROWS`."""
    return tuple(TriedRow(question.name, *question.judge(answers), now) for question in TRIAL_ROWS)


def learn_from_trial(
    facts: LocationFacts, rows: Sequence[TriedRow], answers: TrialAnswers, now: Instant
) -> LocationFacts:
    """The facts with the rows, and with those that planning goes by: whether dates move, and how many tags fit."""
    learnt = facts.with_tried(rows)
    moved = next(row.verdict for row in rows if row.name == "date-moved")
    if moved is not TrialVerdict.OPEN:
        learnt = replace(learnt, moves_updated=moved is TrialVerdict.AS_ASSUMED)
    limit = answers.sized.limit if isinstance(answers.sized, RefusedCall) else None
    return learnt if limit is None else learnt.limited(None, limit, now)


def list_deviations(facts: LocationFacts) -> list[tuple[TriedRow, TrialQuestion]]:
    """The rows that are other than assumed and that nothing in the product goes by: plan and apply warn of them."""
    questions = {question.name: question for question in TRIAL_ROWS}
    rows = [row for row in facts.tried if row.verdict is TrialVerdict.OTHERWISE and row.name in questions]
    # a size that the refusal named was learnt, and is heeded
    return [
        (row, questions[row.name])
        for row in rows
        if questions[row.name].warns or (row.name == "size" and facts.max_tags is None)
    ]
