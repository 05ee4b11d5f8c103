"""CHECKS: every check of the manifests by name, with its severity. Each is a pure function from Manifests to findings:
those of contact sets (names, contacts, times) are here.

Rules
1. A check reports all of its mistakes; none depends on the order of files or keys.
2. A finding about two places names both.
3. Where a file could not be read, a check concludes nothing from its absence.
4. An error must not be applied; a warning is probably a mistake; an info is worth knowing in a review.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.manifests.checks import conflicts, exceptions, ids, loops, snapshots, tags
from reconciler.core.manifests.checks.snapshots import list_unplannable, pull_command
from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.manifest import Authority, Combined, ContactSet, ListedContacts, SetUse
from reconciler.core.model.names import LocationId, SetName, did_you_mean, iso

__all__ = ["CHECKS", "Check", "Manifests", "check_manifests", "list_unplannable", "pull_command"]

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    severity: Severity
    find: Callable[[Manifests], Iterable[CheckFinding]]


LISTED = 5
# a suggestion compares the name with all others: thousands of slips would take long
SUGGESTED = 50


def unique_names(manifests: Manifests) -> Iterator[CheckFinding]:
    for location in manifests.locations:
        for contact_set in location.all_sets():
            first = location.sets[contact_set.name]
            if first is not contact_set:
                message = f"contact set {contact_set.name!r} is already defined at {first.source}"
                yield CheckFinding(contact_set.source, message, "set names are unique in a location, across its files")


def known_sets(manifests: Manifests) -> Iterator[CheckFinding]:
    """References to sets that are not there; says nothing where a file could not be read."""
    if not manifests.complete:
        return
    for location in manifests.locations:
        # a set that could not be used is there all the same, and its own mistake is reported
        names, suggested = [*location.sets, *location.broken], 0
        for use in _set_uses(location):
            if use.name not in location.sets and use.name not in location.broken:
                suggested += 1
                hint = did_you_mean(use.name, names) if suggested <= SUGGESTED else ""
                hint = hint or "sets of other locations cannot be used"
                yield CheckFinding(use.source, f"no contact set {use.name!r} in this location", hint)


def _set_uses(location: Location) -> Iterator[SetUse]:
    for contact_set in location.all_sets():
        if isinstance(contact_set.contacts, Combined):
            yield from contact_set.contacts.uses


def set_cycles(manifests: Manifests) -> Iterator[CheckFinding]:
    for location in manifests.locations:
        for names in location.cycles:
            places = ", ".join(f"{name!r} ({location.sets[name].source})" for name in names[:LISTED])
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            yield CheckFinding(location.sets[names[0]].source, f"contact sets are made of each other: {places}{more}")


def combined_sizes(manifests: Manifests) -> Iterator[CheckFinding]:
    for location in manifests.locations:
        if not location.resolvable:
            # the size is that of the location as a whole: no single set is the mistake
            message = f"the combined sets of location {location.location} come to {location.combined_size:,} contacts"
            limit = f"the limit is {location.size_limit:,}"
            yield CheckFinding(location.files[0].source, f"{message}, {limit}", "combine fewer sets of sets")


def empty_sets(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sets without contacts; of combined ones only where nothing of the location is missing.

    Matched sets have checks of their own: they may wait for a pull, which reads these manifests.
    """
    for location in manifests.locations:
        waiting = _names_of_waiting(location)
        in_cycle = {name for names in location.cycles for name in names}
        # otherwise members may be lacking, and an empty set proves nothing
        sound = location.complete and manifests.complete and location.resolvable and not in_cycle
        for contact_set in location.sets.values():
            if contact_set.allow_empty or contact_set.name in waiting:
                continue
            is_listed = isinstance(contact_set.contacts, ListedContacts)
            if _is_empty(location, contact_set) and (is_listed or (sound and _all_known(location, contact_set))):
                hint = "if that is meant, say so: allow_empty: true"
                yield CheckFinding(contact_set.source, f"contact set {contact_set.name!r} has no contacts", hint)


def _names_of_waiting(location: Location) -> set[SetName]:
    """The matched sets without contacts, and the sets that are made of one."""
    waiting = {contact_set.name for contact_set, _ in snapshots.matched_sets(location.sets.values())}
    waiting -= {name for name in waiting if not _is_empty(location, location.sets[name])}
    # a set stands after those that it is made of: one pass finds all
    for name in location.order if waiting else ():
        if waiting & set(location.sets[name].references):
            waiting.add(name)
    return waiting


def _is_empty(location: Location, contact_set: ContactSet) -> bool:
    if isinstance(contact_set.contacts, ListedContacts):
        return not contact_set.contacts.ids
    return not location.members(contact_set.name)


def _all_known(location: Location, contact_set: ContactSet) -> bool:
    """Whether an empty combined set is not merely the consequence of an unknown or empty one."""
    contacts = contact_set.contacts
    assert isinstance(contacts, Combined)
    return all(use.name in location.sets for use in contacts.sets)


def idle_sets(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sets that declare nothing and that no other set is made of."""
    for location in manifests.locations:
        if not location.complete:
            continue
        # a set that could not be read may use any other (rule 3): that is why the location has to be complete
        used = {use.name for use in _set_uses(location)}
        for contact_set in location.sets.values():
            says_nothing = not contact_set.tags and not contact_set.absent
            # under other authority a set without tags still takes tags from its contacts
            silent = says_nothing and location.authority_of(contact_set) is Authority.ADDITIVE
            if silent and contact_set.name not in used:
                yield CheckFinding(
                    contact_set.source, f"contact set {contact_set.name!r} declares no tags and is not used"
                )


def reversed_times(manifests: Manifests) -> Iterator[CheckFinding]:
    for contact_set in _every_set(manifests):
        start, until = contact_set.start, contact_set.until
        if start is not None and until is not None and start >= until:
            message = f"contact set {contact_set.name!r} ends ({iso(until)}) before it starts ({iso(start)})"
            yield CheckFinding(contact_set.source, message, "until is exclusive and must be later than from")


def past_times(manifests: Manifests) -> Iterator[CheckFinding]:
    for contact_set in _every_set(manifests):
        if manifests.now is not None and contact_set.until is not None and contact_set.until <= manifests.now:
            message = f"contact set {contact_set.name!r} has expired at {iso(contact_set.until)} and declares nothing"
            yield CheckFinding(contact_set.source, message)


def _every_set(manifests: Manifests) -> Iterator[ContactSet]:
    for location in manifests.locations:
        yield from location.all_sets()


def merged_locations(manifests: Manifests) -> Iterator[CheckFinding]:
    """Locations that stand in several files: they are merged, which a reader of one file does not see."""
    for location in manifests.locations:
        for manifest in location.files[1:]:
            yield CheckFinding(
                manifest.source, f"location {location.location} is merged with {location.files[0].source}"
            )


def unused_locations(manifests: Manifests) -> Iterator[CheckFinding]:
    """Locations that the settings name, and no manifest: a slip of the pen, or a manifest that is gone."""
    # manifests that were left out on purpose are there, and so is the use of their settings
    used = {*(location.location for location in manifests.locations), *manifests.elsewhere}
    known = sorted(used)
    for location, place in manifests.settled.items() if manifests.complete else ():
        if location not in used:
            yield CheckFinding(
                place,
                f"location {location} is in the settings, and no manifest has it",
                did_you_mean(location, known),
            )


CHECKS = (
    Check("set-name", _ERROR, unique_names),
    Check("unknown-set", _ERROR, known_sets),
    Check("set-cycle", _ERROR, set_cycles),
    Check("set-size", _ERROR, combined_sizes),
    Check("empty-set", _ERROR, empty_sets),
    Check("source-unused", _WARNING, snapshots.unused_sources),
    Check("snapshot-missing", _INFO, snapshots.missing_snapshots),
    Check("snapshot-empty", _WARNING, partial(snapshots.find_all, find=snapshots.find_empty)),
    Check("snapshot-outdated", _WARNING, partial(snapshots.find_all, find=snapshots.find_outdated)),
    Check("snapshot-expired", _WARNING, partial(snapshots.find_all, find=snapshots.find_expired)),
    Check("filter-loop", _ERROR, loops.filters_on_owned_tags),
    Check("filter-flips", _WARNING, loops.filters_that_flip),
    Check("filter-address", _WARNING, partial(snapshots.find_all, find=snapshots.find_addresses)),
    Check("idle-set", _WARNING, idle_sets),
    Check("odd-id", _WARNING, ids.contact_ids),
    Check("shared-contacts", _INFO, ids.shared_contacts),
    Check("merged-location", _INFO, merged_locations),
    Check("location-unused", _WARNING, unused_locations),
    Check("exception-unused", _WARNING, exceptions.unused_exceptions),
    Check("exception-past", _INFO, exceptions.past_exceptions),
    Check("time-order", _ERROR, reversed_times),
    Check("time-past", _INFO, past_times),
    Check("tag-conflict", _ERROR, conflicts.present_and_absent),
    Check("group-conflict", _ERROR, conflicts.two_of_a_group),
    Check("tag-control", _ERROR, tags.control_characters),
    Check("tag-bidi", _ERROR, tags.bidi_characters),
    Check("tag-invisible", _WARNING, tags.invisible_characters),
    Check("tag-comma", _WARNING, tags.tags_with_commas),
    Check("tag-parted", _WARNING, tags.parted_tags),
    Check("tag-blank", _WARNING, tags.tags_with_blanks),
    Check("tag-length", _WARNING, tags.long_tags),
    Check("tag-comment", _WARNING, tags.tags_with_comments),
    Check("tag-script", _WARNING, tags.mixed_scripts),
    Check("tag-lookalike", _WARNING, tags.lookalike_tags),
    Check("tag-spelling", _WARNING, tags.spelling_variants),
    Check("tag-repeated", _WARNING, tags.repeated_tags),
    Check("rule-differs", _ERROR, tags.equal_rules),
    Check("rule-replaced", _INFO, tags.replaced_rules),
    Check("rule-contradiction", _ERROR, tags.contradictory_rules),
    Check("too-slow", _ERROR, tags.too_slow),
    Check("rule-renamed", _ERROR, tags.renamed_tags),
    Check("rule-unused", _WARNING, tags.unused_rules),
)


def check_manifests(manifests: Manifests) -> tuple[Problem, ...]:
    """Everything that is wrong or worth knowing, sorted by place."""
    problems = list(_find_problems(manifests))
    counts = Counter(manifest.path for manifest in manifests.files)
    if of_many := {problem.source.path for problem in problems if counts[problem.source.path] > 1}:
        problems = _name_locations(manifests, problems, of_many)
    return tuple(sorted(problems, key=lambda problem: problem.sort_key))


def _find_problems(manifests: Manifests) -> Iterator[Problem]:
    for entry in CHECKS:
        for finding in entry.find(manifests):
            yield Problem(finding.source, finding.message, entry.name, entry.severity, finding.hint)


def _name_locations(manifests: Manifests, problems: Iterable[Problem], paths: Container[str]) -> list[Problem]:
    """Where a file is of many locations, a problem of only some of them names these."""
    with_it: dict[Problem, list[LocationId]] = {problem: [] for problem in problems}
    of_path: dict[str, set[LocationId]] = {}
    for location in manifests.locations:
        for path in {manifest.path for manifest in location.files}:
            of_path.setdefault(path, set()).add(location.location)
        # a finding does not tell its location: found again in the files of this one alone, it is of this one
        for problem in _find_problems(replace(manifests, files=location.files)):
            if problem.source.path in paths and problem in with_it:
                with_it[problem].append(location.location)
    return [
        named
        for problem, locations in with_it.items()
        for named in (
            [replace(problem, message=f"location {location}: {problem.message}") for location in locations]
            # of none by itself, it needs two locations together; of all of them, their names tell nothing
            if 0 < len(locations) < len(of_path[problem.source.path])
            else [problem]
        )
    ]
