"""Bugs to plant, one at a time: each a substitution in one module, and the invariant that has to notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """What somebody might do to `module` one day. `caught`: how the complaint begins, one way or another."""

    name: str
    module: str
    old: str
    new: str
    caught: str


BUGS = (
    Bug(
        "take the first of two rows of one contact",
        "core/model/outcome.py",
        "verdicts[contact] if number == 1 else _undecided(number)",
        "verdicts[contact]",
        "10",
    ),
    Bug(
        "take any error for a rejection",
        "core/model/outcome.py",
        "Outcome.REJECTED if rejection else Outcome.HELD",
        "Outcome.REJECTED",
        "10",
    ),
    Bug(
        "take a row without tags for a contact without tags",
        "wire.py",
        "    if not isinstance(value, list) or",
        "    if value is None:\n        return frozenset()\n    if not isinstance(value, list) or",
        "8",
    ),
    Bug(
        "say removeAllTags",
        "wire.py",
        '"tags": list(update.tags), "locationId": update.location}',
        '"tags": list(update.tags), "locationId": update.location, "removeAllTags": False}',
        "4",
    ),
    Bug(
        "name a contact twice",
        "wire.py",
        '{"contacts": list(update.contacts),',
        '{"contacts": [*update.contacts, update.contacts[0]],',
        "4",
    ),
    Bug(
        "take 5xx for known not to have had an effect",
        "highlevel/connection.py",
        "return InDoubt(message, said=said)",
        "return self._later(message, answer)",
        "6",
    ),
    Bug(
        "send again after a time-out",
        "highlevel/connection.py",
        'raise InDoubt(f"no answer from',
        'raise NotApplied(f"no answer from',
        "6",
    ),
    Bug(
        "follow redirects",
        "highlevel/http_client.py",
        "follow_redirects=False",
        "follow_redirects=True",
        "11",
    ),
    Bug(
        "send the token in a header of its own",
        "highlevel/http_client.py",
        'headers={**headers, "Content-Type": kind, **lengths}',
        'headers={**headers, "Content-Type": kind, **lengths, "X-Token": token or ""}',
        "11",
    ),
    Bug(
        "say the token in an error",
        "highlevel/connection.py",
        'raise InDoubt(f"no answer from',
        'raise InDoubt(f"{self._token}: no answer from',
        "11",
    ),
    Bug(
        "put nothing under management",
        "core/model/contact_changes.py",
        "tags=state.ledger.tags | tags,\n        kept=(state.ledger.kept",
        "tags=state.ledger.tags,\n        kept=(state.ledger.kept",
        "16",
    ),
    Bug(
        "take no account of a group's other tags",
        "core/manifests/wants.py",
        "if rule.group:",
        "if rule.group and not rule.group:",
        "15",
    ),
    Bug(
        "leave the old name of a renamed tag",
        "core/manifests/wants.py",
        "if tag in renamed and renamed[tag] not in present",
        "if tag not in renamed and tag not in present",
        "15",
    ),
    Bug(
        "remove what is kept on leaving",
        "core/manifests/wants.py",
        "keep=_kept_tags(active, present),",
        "keep=frozenset(),",
        "2",
    ),
    Bug(
        "remove what is protected or ignored",
        "core/planning/pattern.py",
        " and not self._is_safe(tag)\n",
        "\n",
        "2 15",
    ),
    Bug(
        "remove what is desired",
        "core/planning/pattern.py",
        "if tag not in want.present\n            and tag not in self.spent",
        "if tag not in self.spent",
        "3 15",
    ),
    Bug(
        "prune nothing",
        "core/planning/pattern.py",
        "for tag in situation.ledger.tags if tag not in situation.ledger.kept}",
        "for tag in situation.ledger.tags if tag in situation.ledger.kept}",
        "16",
    ),
    Bug(
        "add a tag that is once again and again",
        "core/planning/pattern.py",
        "return rule is not None and rule.once\n",
        "return False\n",
        "6 7",
    ),
    Bug(
        "send in later rounds whatever turns out to be needed",
        "core/planning/approved_scope.py",
        "change for change in removing if change.tag in removes or",
        "change for change in removing if True or",
        "1",
    ),
    Bug(
        "add again on any reading",
        "core/running/doubt.py",
        "return there is not None and reading.updated is not None and reading.updated + slack_ms < there",
        "return True",
        "6",
    ),
    Bug(
        "read what is in doubt before it can have settled",
        "apply/resolve_doubts.py",
        "if (wait := last + run.options.settle_ms - run.now()) > 0:",
        "if (wait := last + run.options.settle_ms - run.now()) > 10**9:",
        "6",
    ),
    Bug(
        "remove although an add did not end well",
        "apply/run.py",
        "            unwanted |= outcomes.failed.keys() & set(batch.contacts)\n",
        "",
        "6",
    ),
    Bug(
        "send what is in doubt in another batch of the plan",
        "apply/run.py",
        "outcomes.list_unclear(batch.contacts, tags) | self.doubts.contacts_with(batch.contacts, tags)",
        "set()",
        "6",
    ),
    Bug(
        "count what was there already as changed",
        "core/running/pair_outcomes.py",
        "changed = tags & (verdict.added | verdict.removed)",
        "changed = tags",
        "10",
    ),
    Bug(
        "take a lease that somebody holds",
        "store/leases.py",
        "    if last is not None and is_held(",
        "    if last is not None and not last.holder and is_held(",
        "9",
    ),
    Bug(
        "take what was asked for once for added",
        "core/planning/pattern.py",
        "tag in self.situation.ledger.tags - self.situation.ledger.unconfirmed or",
        "tag in self.situation.ledger.tags or",
        "15",
    ),
    Bug(
        "forget what was given once with its pair",
        "core/planning/pattern.py",
        "any(tag == given for given, _ in self.situation.given_before)",
        "any(tag == given for given, _ in ())",
        "6 7",
    ),
    Bug(
        "add once more what may have been consumed",
        "core/planning/pattern.py",
        "if not self.situation.ledger.unconfirmed or self.selection.retry_held:",
        "if self.situation.ledger.unconfirmed or self.selection.retry_held:",
        "6 7",
    ),
    Bug(
        "retry with a plan that is resumed what it retried before",
        "apply/resolve_doubts.py",
        "if contact not in unread:",
        "if contact in ():",
        "6",
    ),
    Bug(
        "take every row of a search for an add that landed",
        "apply/read_contacts.py",
        " & row.tags):\n",
        "):\n",
        "6",
    ),
    Bug(
        "prove by a date that tag writes do not move",
        "apply/resolve_doubts.py",
        "proven=untouched if moves else NONE",
        "proven=untouched if moves is not None else NONE",
        "6 7",
    ),
)
