"""CHECKS: every check of the manifests by name, with its severity. Each is a pure function from Manifests to findings.

Rules
1. A check reports all of its mistakes; none depends on the order of files or keys.
2. A finding about two places names both.
3. Where a file could not be read, a check concludes nothing from its absence.
4. An error must not be applied; a warning is probably a mistake; an info is worth knowing in a review.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.core.manifests.checks import conflicts, sets, tags
from reconciler.core.manifests.merged import CheckFinding, Manifests
from reconciler.core.model.errors import Problem, Severity

__all__ = ["CHECKS", "Check", "Manifests", "check_manifests"]

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    severity: Severity
    find: Callable[[Manifests], Iterable[CheckFinding]]


CHECKS = (
    Check("set-name", _ERROR, sets.unique_names),
    Check("unknown-set", _ERROR, sets.known_sets),
    Check("set-cycle", _ERROR, sets.set_cycles),
    Check("set-size", _ERROR, sets.combined_sizes),
    Check("empty-set", _ERROR, sets.empty_sets),
    Check("idle-set", _WARNING, sets.idle_sets),
    Check("odd-id", _WARNING, sets.contact_ids),
    Check("shared-contacts", _INFO, sets.shared_contacts),
    Check("merged-location", _INFO, sets.merged_locations),
    Check("location-unused", _WARNING, sets.unused_locations),
    Check("time-order", _ERROR, sets.reversed_times),
    Check("time-past", _INFO, sets.past_times),
    Check("tag-conflict", _ERROR, conflicts.present_and_absent),
    Check("group-conflict", _ERROR, conflicts.two_of_a_group),
    Check("tag-control", _ERROR, tags.control_characters),
    Check("tag-bidi", _ERROR, tags.bidi_characters),
    Check("tag-invisible", _WARNING, tags.invisible_characters),
    Check("tag-comma", _WARNING, tags.tags_with_commas),
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
    Check("rule-renamed", _ERROR, tags.renamed_tags),
    Check("rule-unused", _WARNING, tags.unused_rules),
)


def check_manifests(manifests: Manifests) -> tuple[Problem, ...]:
    """Everything that is wrong or worth knowing, sorted by place."""
    problems = [
        Problem(finding.source, finding.message, entry.name, entry.severity, finding.hint)
        for entry in CHECKS
        for finding in entry.find(manifests)
    ]
    return tuple(sorted(problems, key=lambda problem: problem.sort_key))
