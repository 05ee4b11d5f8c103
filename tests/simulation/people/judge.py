"""What has to hold in every world of people, judged by the CRM's own log, the files and what is kept; nothing here asks
the product what it thinks. Each check yields a sentence for every violation, which begins with the word for its rule.

sends: a pull changes no contact. reads: who asks for changes alone was shown everybody before. keeps: what is kept is
what was told, and nothing where a pull was not to keep it. counts: every row ends in one class. guards: too many rows
of nobody are refused. leaves, enters: who is in a set stays while the row is there, and nobody comes by a guess. plans:
plans and runs go by the snapshot alone. ends: in a quiet world a set is the contacts of its rows. leaks: no address
stands where none may.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Action
from reconciler.core.observing.pull_report import PulledSet
from tests.privacy import Scanner
from tests.simulation.evidence import writes_of
from tests.simulation.invariants import Violated
from tests.simulation.people.crowd import MARK, PHONES, SetFile, Value
from tests.simulation.people.play import DAY_MS, Act, Kept, Life
from tests.simulation.people.sightings import Seen, sought_of
from tests.simulation.place import SEARCH

SCANNER = Scanner([MARK, PHONES])
FLOOR, LIMIT_PCT = 5, 10


def check_people(life: Life) -> None:
    """Raises Violated with every sentence."""
    seen = Seen(life)
    found = [each for act in life.acts for each in _act(life, act, seen)]
    found += [*_ending(life), *_leaks(life)]
    if found:
        raise Violated("\n".join(found))


def _act(life: Life, act: Act, seen: Seen) -> Iterator[str]:
    if act.kind == "pull":
        yield from _sends(life, act)
        yield from _reads(life, act, seen)
        yield from _keeps(act)
        yield from _counts(act)
        yield from _guards(life, act)
        for name, kept in act.after.items():
            if kept != act.before.get(name) and act.sets[name].exists:
                yield from _enters(act, name, seen)
                yield from _leaves(life, act, name, seen)
    elif act.kind == "apply":
        yield from _plans(life, act)
    if act.kind != "pull" and not _beside_a_pull(life, act) and act.before != act.after:
        yield f"keeps: {act.name} ({act.kind}) changes a snapshot"


def _beside_a_pull(life: Life, act: Act) -> bool:
    return any(each.kind == "pull" and each.began <= act.ended and each.ended >= act.began for each in life.acts)


def _sends(life: Life, act: Act) -> Iterator[str]:
    for each in life.place.exchanges:
        if each.run == act.name and each.method != "GET" and (each.method, each.path) != ("POST", SEARCH):
            yield f"sends: {act.name} sends {each.method} {each.path}"


def _reads(life: Life, act: Act, seen: Seen) -> Iterator[str]:
    whole = min((seen.log[nth].ended or 0 for nth, _ in seen.scans), default=None)
    for each in life.place.exchanges:
        if each.run == act.name and sought_of(each) == "changes" and (whole is None or whole > each.at):
            yield f"reads: {act.name} asks for changes, and no search before has shown everybody"


def _told(act: Act) -> dict[str, PulledSet]:
    return {entry.name: entry for pulled in (act.result.locations if act.result else ()) for entry in pulled.sets}


def _keeps(act: Act) -> Iterator[str]:
    told = _told(act)
    for name in sorted(act.before.keys() | act.after.keys()):
        before, after = act.before.get(name), act.after.get(name)
        if before == after:
            continue
        entry = told.get(name)
        if after is None or act.killed or act.request.dry_run or entry is None or not entry.is_new:
            yield f"keeps: {act.name} changes the snapshot of {name}, and was not to"
            continue
        old, new = set(before.contacts if before else ()), set(after.contacts)
        if (set(entry.joined), set(entry.left), entry.size) != (new - old, old - new, len(after.contacts)):
            yield f"keeps: {act.name} told other changes of {name} than it kept"
    for name, entry in told.items():
        if act.is_kept and entry.is_new and not _is_of(act.after.get(name), act):
            yield f"keeps: {act.name} did not keep the snapshot of {name}"
        if act.is_kept and not act.sets[name].exists and not entry.failure:
            yield f"keeps: {act.name} resolves {name}, and there is no file"
    if act.is_done and act.result and bool(act.result.exit_code) == all(
        entry.is_new for entry in told.values()
    ) and not act.result.errors:  # fmt: skip
        yield f"keeps: {act.name} ends with {act.result.exit_code}, which is not how its sets ended"


def _is_of(kept: Kept | None, act: Act) -> bool:
    return kept is not None and act.began <= kept.as_of <= act.ended


def _counts(act: Act) -> Iterator[str]:
    for name, entry in _told(act).items():
        counts, rows = entry.counts, act.sets[name].rows
        if entry.failure:
            continue
        classes = counts.matched + counts.not_found + counts.ambiguous + counts.duplicate + counts.malformed
        malformed = [row for row in rows if not row.sought(act.sets[name].keys)]
        if (counts.rows, classes, counts.malformed) != (len(rows), len(rows), len(malformed)):
            yield f"counts: {act.name} counts {counts} of {len(rows)} rows of {name}, {len(malformed)} malformed"
        if counts.kept > counts.matched or (counts.matched > entry.size and entry.is_new):
            yield f"counts: {act.name} counts {counts}, and {name} has {entry.size} contacts"


def _guards(life: Life, act: Act) -> Iterator[str]:
    if act.request.allow:
        return
    for name, entry in _told(act).items():
        file = act.sets[name]
        nobodys = [row for row in file.rows if not any(_ever_had(life, each, act) for each in row.sought(file.keys))]
        refused = len(nobodys) > FLOOR and 100 * len(nobodys) > LIMIT_PCT * len(file.rows)
        if refused and not entry.failure and (entry.is_new or _is_of(act.after.get(name), act)):
            yield f"guards: {act.name} keeps {name}, where {len(nobodys)} of {len(file.rows)} rows are nobody's"


def _ever_had(life: Life, value: Value, act: Act) -> bool:
    return any(life.crowd.had(contact, value, act.ended) for contact in life.crowd.history)


def _enters(act: Act, name: str, seen: Seen) -> Iterator[str]:
    before, file = act.before.get(name), act.sets[name]
    for contact in sorted(set(act.after[name].contacts) - set(before.contacts if before else ())):
        if not any(_may_enter(contact, row.sought(file.keys), act, seen) for row in file.rows):
            yield f"enters: {contact} comes into {name} by {act.name}, and no row is its alone"


def _may_enter(contact: str, sought: list[Value], act: Act, seen: Seen) -> bool:
    """Whether a row may be of the contact: the first value that anybody has for sure decides."""
    for value in sought:
        others = [each for each in seen.holders(value, act) if each != contact]
        if others:
            return False
        if seen.may_have(contact, value, act):
            return True
    return False


def _leaves(life: Life, act: Act, name: str, seen: Seen) -> Iterator[str]:
    before, file = act.before.get(name), act.sets[name]
    for contact in sorted(set(before.contacts if before else ()) - set(act.after[name].contacts)):
        if life.crowd.is_gone(_as_id(contact), act.ended) or _lost_its_past(life, act):
            continue
        for row in file.rows:
            sought = _deciding(row.sought(file.keys), act, seen)
            its = any(seen.had(contact, value, act) for value in sought)
            if its and not any(_is_rematched(contact, value, act, seen) for value in sought):
                yield f"leaves: {contact} leaves {name} by {act.name}, and its row is there: {row.cells}"


def _deciding(sought: list[Value], act: Act, seen: Seen) -> list[Value]:
    """The values that a row goes by: the first that anybody may have decides, be it that several have it."""
    decides = (nth for nth, value in enumerate(sought) if any(seen.may_have(who, value, act) for who in seen.sightings))
    return sought[: next(decides, len(sought)) + 1]


def _lost_its_past(life: Life, act: Act) -> bool:
    """Whether the fingerprints of before are of another key: nobody can tell any more which row a contact had."""
    past = life.acts[: life.acts.index(act) + 1]
    return len({each.key for each in past if each.kind == "pull"}) > 1


def _is_rematched(contact: str, value: Value, act: Act, seen: Seen) -> bool:
    """Whether exactly one other contact may have the value, and this one not."""
    others = [each for each in seen.sightings if each != contact and seen.may_have(each, value, act)]
    sure = [each for each in seen.holders(value, act) if each != contact]
    return bool(others) and len(sure) <= 1 and not seen.has(contact, value, act)


def _as_id(contact: str) -> ContactId:
    return ContactId(contact)


def _plans(life: Life, act: Act) -> Iterator[str]:
    tags = {file.tag: name for name, file in act.sets.items()}
    if act.loaded is None:
        if writes_of(life.place, act.name):
            yield f"plans: {act.name} writes, and read no manifests"
        return
    for name, file in act.sets.items():
        kept = act.loaded.get(name)
        if kept is None or (file.max_age and kept.as_of + DAY_MS < act.began):
            yield f"plans: {act.name} plans by {name}, which has no snapshot, or one that is too old"
            return
    pairs = {pair for write in writes_of(life.place, act.name) for pair in write.pairs}
    for location in act.plan.locations if act.plan else ():
        pairs |= {(c.action, who, c.tag) for d in location.deltas for c in d.changes for who in d.contacts}
    for action, who, tag in sorted(pairs):
        if tag not in tags or (who in act.loaded[tags[tag]].contacts) is not (action is Action.ADD):
            yield f"plans: {act.name} is to {action} {tag} on {who}, against the snapshot"


def _ending(life: Life) -> Iterator[str]:
    full, again, _, last = life.acts[-4:]
    # a set that came out empty is refused where nobody said that it may be
    empty = any(not kept.contacts and not life.sets[name].may_be_empty for name, kept in again.after.items())
    for act in (full, again) if empty else (full, again, last):
        if act.problem or (act.result and (act.result.errors or act.result.exit_code)):
            yield f"ends: {act.name} did not end well: {act.problem or act.result}"
            return
    # a write to a merged contact may reach its survivor
    others = life.touched | {each.merged_into for each in life.crm.contacts.values() if each.merged_into}
    for name, file in life.sets.items():
        if full.after[name].contacts != again.after[name].contacts:
            yield f"ends: in a quiet world {again.name} changes {name}"
        yield from _members(life, full, name, file)
        if empty:
            continue
        carrying = set(life.crm.holders(file.tag)) - others
        wanted = {who for who in again.after[name].contacts if not _gone_now(life, who)} - others
        if carrying != wanted:
            yield f"ends: {file.tag} is carried by {sorted(carrying)}, and {name} has {sorted(wanted)}"
    locations = last.plan.locations if last.plan else ()
    if {who for location in locations for delta in location.deltas for who in delta.contacts} - others:
        yield f"ends: after a run {last.name} plans more"


def _gone_now(life: Life, contact: str) -> bool:
    return life.crm.find(contact) is None


def _reads_as_survivor(life: Life, contact: str) -> bool:
    merged = life.crm.contacts[_as_id(contact)].merged_into
    return life.crm.assumptions.merged_reads_as_survivor and merged is not None


def _members(life: Life, act: Act, name: str, file: SetFile) -> Iterator[str]:
    """Exactly the contacts of the rows that are one contact's, and those that are kept from before."""
    sure, kept, nobodys = set[str](), set[str](), False
    for row in file.rows:
        sought = row.sought(file.keys)
        holders = next((found for value in sought if (found := life.crowd.holders(value, act.ended))), [])
        sure |= set(holders) if len(holders) == 1 else set()
        nobodys |= bool(sought) and len(holders) != 1
        kept |= {who for who in life.crowd.history for value in sought if life.crowd.had(who, value, act.ended)}
    before = act.before.get(name)
    if nobodys and _lost_its_past(life, act):
        # a row that is not found, or is ambiguous, may be of anybody who was there
        kept = set(life.crowd.history)
    kept &= set(before.contacts if before else ())
    there = set(act.after[name].contacts)
    if missing := sorted(sure - there):
        yield f"ends: {name} lacks {missing}"
    # a merged contact that is answered as its survivor is not proven gone
    kept -= {who for who in kept if _gone_now(life, who) and not _reads_as_survivor(life, who)}
    if more := sorted(there - sure - kept):
        yield f"ends: {name} has {more}, which no row is of"


def _leaks(life: Life) -> Iterator[str]:
    rightful = sorted(life.manifests.glob("*.csv"))
    for name, found in SCANNER.search_files(life.directory, but=rightful).items():
        yield f"leaks: {name} has {found}"
    for act in life.acts:
        said = [repr(act.events), repr(act.result), str(act.problem)]
        said += [error.message for error in act.result.errors] if act.result else []
        said += [repr(pulled) for pulled in act.result.locations] if act.result else []
        if found := SCANNER.search(json.dumps(said).encode()):
            yield f"leaks: {act.name} tells {found}"
