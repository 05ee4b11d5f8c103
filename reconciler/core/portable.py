"""State as a portable JSON document, and back: what `state pull` prints and `state push` takes. Pure.

Rules
1. `format_version` is "MAJOR.MINOR": a reader ignores unknown fields and refuses an unknown MAJOR.
2. Contacts that share everything known stand together, and so do contacts of a batch that were answered alike.
3. `pull` then `push` into an empty state gives the same content, the same runs and the same document.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from reconciler.core.errors import InvalidInput, Problem, StateError
from reconciler.core.facts import NO_FACTS, Facts
from reconciler.core.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.names import ContactId, Instant, LocationId, SetName, Tag, TagSet, instant, iso
from reconciler.core.observed import Known, Observed, Origin
from reconciler.core.outcome import Action, Outcome, Rejection, Verdict
from reconciler.core.plan import Snapshot
from reconciler.core.source import Source

FORMAT_VERSION = "1.2"
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Portable:
    """All there is of a location: its content and its journal."""

    state: Snapshot
    runs: tuple[RunLog, ...]


def state_document(locations: Iterable[Portable]) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "locations": [_location_document(each) for each in locations]}


def _location_document(each: Portable) -> dict[str, Any]:
    state = each.state
    return {
        "location": state.location,
        "lineage": state.lineage,
        "serial": state.serial,
        "set_sizes": dict(sorted(state.set_sizes.items())),
        "facts": facts_document(state.facts),
        "known": contacts_document(dict(state.observed.items())),
        "runs": [
            run_document(log.record) | {"batches": [batch_document(batch) for batch in log.batches]}
            for log in each.runs
        ],
    }


def facts_document(facts: Facts) -> dict[str, Any]:
    return {
        "moves_updated": facts.moves_updated,
        "max_contacts": facts.max_contacts,
        "max_tags": facts.max_tags,
        "aliases": dict(facts.aliases),
    }


def contacts_document(contacts: Mapping[ContactId, Known]) -> list[dict[str, Any]]:
    return [known_document(known) | {"contacts": ids} for known, ids in _grouped(contacts.items())]


def answers_document(answers: Mapping[ContactId, Answer]) -> list[dict[str, Any]]:
    return [_answer_document(answer) | {"contacts": ids} for answer, ids in _grouped(answers.items())]


def _grouped(items: Iterable[tuple[ContactId, T]]) -> list[tuple[T, list[ContactId]]]:
    """The contacts of each value, in the order of the first contact."""
    found: defaultdict[T, list[ContactId]] = defaultdict(list)
    for contact, value in sorted(items, key=lambda item: item[0]):
        found[value].append(contact)
    return list(found.items())


def known_document(known: Known) -> dict[str, Any]:
    return {
        "observed": None if known.observed is None else sorted(known.observed),
        "observed_at": _iso(known.observed_at),
        "origin": known.origin,
        "ledger": sorted(known.ledger),
        "kept": sorted(known.kept),
        "doubt": sorted(known.doubt),
        "doubt_at": _iso(known.doubt_at),
        "quarantine": known.quarantine,
        "quarantined_at": _iso(known.quarantined_at),
        "quarantined_since": _iso(known.quarantined_since),
        "membership": None if known.membership is None else sorted(known.membership),
        "restored": {tag: iso(at) for tag, at in known.restored},
        "unconfirmed": sorted(known.unconfirmed),
    }


def run_document(run: RunRecord) -> dict[str, Any]:
    header = run.header
    return {
        "id": run.id,
        "operation": header.operation,
        "who": header.who,
        "started": iso(header.started),
        "ended": _iso(run.ended),
        "status": run.status,
        "change_digest": header.change_digest,
        "commit": header.commit,
        "allowed": list(header.allowed),
        "requests": run.requests,
        "kept_rows": run.rows,
    }


def batch_document(batch: BatchRecord) -> dict[str, Any]:
    return {
        "action": batch.action,
        "tags": list(batch.tags),
        "intended": iso(batch.intended),
        "ended": _iso(batch.ended),
        "status": batch.status,
        "rows": answers_document(batch.answers),
    }


def _answer_document(answer: Answer) -> dict[str, Any]:
    verdict = answer.verdict
    if verdict is None:
        return {"outcome": None}
    return {
        "outcome": verdict.outcome,
        "old": None if verdict.old is None else sorted(verdict.old),
        "added": sorted(verdict.added),
        "removed": sorted(verdict.removed),
        "released": sorted(answer.released),
        "message": verdict.message,
        "rejection": verdict.rejection,
    }


def _iso(moment: Instant | None) -> str | None:
    return None if moment is None else iso(moment)


def read_state(document: object, *, path: str) -> tuple[Portable, ...]:
    """The locations of a document; raises InvalidInput for anything else. `path` names it in the message."""
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), str):
        raise _refused(path, "this is no state: `format_version` is missing", "`reconciler state pull` writes one")
    version = document["format_version"]
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        known = f"this reconciler reads {FORMAT_VERSION}"
        raise _refused(path, f"state format {version[:20]!r} is not known here; {known}", "upgrade reconciler")
    try:
        return tuple(_location(item) for item in document["locations"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _refused(path, f"the state lacks something: {type(error).__name__} {error}", "pull it again") from error


def _refused(path: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(Source(path), message, "state", hint=hint)])


def _location(item: Mapping[str, Any]) -> Portable:
    location = LocationId(_text(item["location"]))
    observed = read_contacts(item["known"])
    sizes = {SetName(name): _number(size) for name, size in item["set_sizes"].items()}
    # what version 1.0 did not know yet is not there
    facts = _facts(item["facts"]) if "facts" in item else NO_FACTS
    state = Snapshot(location, _text(item["lineage"]), _number(item["serial"]), observed, sizes, facts)
    return Portable(state, tuple(_log(location, run) for run in item["runs"]))


def _facts(item: Mapping[str, Any]) -> Facts:
    moves = item["moves_updated"]
    if moves is not None and not isinstance(moves, bool):
        raise TypeError(f"{str(moves)[:40]!r} is neither true nor false")
    return Facts(
        moves_updated=moves,
        max_contacts=_optional_number(item["max_contacts"]),
        max_tags=_optional_number(item["max_tags"]),
        aliases=tuple(sorted((Tag(_text(sent)), Tag(_text(back))) for sent, back in item["aliases"].items())),
    )


def read_contacts(groups: Iterable[Mapping[str, Any]]) -> Observed:
    """The inverse of `contacts_document`."""
    observed = Observed()
    for group in groups:
        known = _known(group)
        observed.update({ContactId(_text(contact)): known for contact in group["contacts"]})
    return observed


def _known(item: Mapping[str, Any]) -> Known:
    # whoever mends a state by hand ends a quarantine by its first two words
    refused = {} if item["quarantine"] is None else item
    return Known(
        observed=_optional_tags(item["observed"]),
        observed_at=_instant(item["observed_at"]),
        origin=Origin(item["origin"]),
        ledger=_tags(item["ledger"]),
        kept=_tags(item["kept"]),
        doubt=_tags(item["doubt"]),
        doubt_at=_instant(item["doubt_at"]),
        quarantine=None if item["quarantine"] is None else Rejection(item["quarantine"]),
        quarantined_at=_instant(item["quarantined_at"]),
        quarantined_since=_instant(refused.get("quarantined_since")),
        membership=_membership(refused.get("membership")),
        restored=tuple(sorted((Tag(tag), instant(at)) for tag, at in item.get("restored", {}).items())),
        unconfirmed=_tags(item.get("unconfirmed", [])),
    )


def _log(location: LocationId, item: Mapping[str, Any]) -> RunLog:
    header = RunHeader(
        location=location,
        operation=_text(item["operation"]),
        who=_text(item["who"]),
        started=instant(item["started"]),
        change_digest=_text(item["change_digest"]),
        commit=_text(item["commit"]),
        allowed=tuple(map(_text, item["allowed"])),
    )
    batches = tuple(_batch(batch) for batch in item["batches"])
    rows = sum(len(batch.answers) for batch in batches)
    status, ended = RunStatus(item["status"]), _instant(item["ended"])
    return RunLog(RunRecord(_text(item["id"]), header, status, ended, len(batches), rows), batches)


def _batch(item: Mapping[str, Any]) -> BatchRecord:
    return BatchRecord(
        action=Action(item["action"]),
        tags=tuple(sorted(_tags(item["tags"]))),
        intended=instant(item["intended"]),
        ended=_instant(item["ended"]),
        status=BatchStatus(item["status"]),
        answers=read_answers(item["rows"]),
    )


def read_answers(rows: Iterable[Mapping[str, Any]]) -> dict[ContactId, Answer]:
    """The inverse of `answers_document`."""
    answers: dict[ContactId, Answer] = {}
    for row in rows:
        answer = _answer(row)
        answers.update({ContactId(_text(contact)): answer for contact in row["contacts"]})
    return answers


def _answer(item: Mapping[str, Any]) -> Answer:
    if item["outcome"] is None:
        return Answer(None)
    verdict = Verdict(
        outcome=Outcome(item["outcome"]),
        message=_text(item["message"]),
        rejection=None if item["rejection"] is None else Rejection(item["rejection"]),
        old=_optional_tags(item["old"]),
        added=_tags(item["added"]),
        removed=_tags(item["removed"]),
    )
    return Answer(verdict, _tags(item["released"]))


def _instant(text: str | None) -> Instant | None:
    return None if text is None else instant(text)


def _tags(items: Sequence[str]) -> TagSet:
    return frozenset(Tag(_text(item)) for item in items)


def _optional_tags(items: Sequence[str] | None) -> TagSet | None:
    return None if items is None else _tags(items)


def _membership(items: Sequence[str] | None) -> frozenset[SetName] | None:
    return None if items is None else frozenset(SetName(_text(item)) for item in items)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is not text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{str(value)[:40]!r} is not a count")
    return value


def _optional_number(value: object) -> int | None:
    return None if value is None else _number(value)


def accept(present: Portable, new: Portable) -> Portable | None:
    """What a push makes of a location: None where there is nothing to do; raises StateError where it would lose.

    A push into an empty state takes lineage and serial over. Elsewhere the lineage must be the same, the serial not
    older than that of the state, and no run may be missing.
    """
    state = present.state
    if not state.serial and not present.runs and not len(state.observed):
        return new
    if new.state.lineage != state.lineage:
        raise StateError(
            f"the state of location {state.location} is of lineage {state.lineage}, and this is of {new.state.lineage}",
            hint="they have nothing to do with one another: see that --state names the right one",
        )
    missing = {log.record.id for log in present.runs} - {log.record.id for log in new.runs}
    if new.state.serial < state.serial or missing:
        lacks = f", and lacks run {min(missing)}" if missing else ""
        raise StateError(
            f"this is older than the state: serial {new.state.serial}, there {state.serial}{lacks}",
            hint="pull again, and make the change once more",
        )
    if _content(new) == _content(present):
        return None
    serial = max(new.state.serial, state.serial + 1)
    return replace(new, state=replace(new.state, serial=serial))


def _content(each: Portable) -> tuple[object, ...]:
    state = each.state
    return dict(state.observed.items()), dict(state.set_sizes), state.facts, [log.record.id for log in each.runs]
