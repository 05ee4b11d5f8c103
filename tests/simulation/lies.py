"""Bugs to plant, each a belief in what an outside says that lies: a refusal, a reading, a file, a holder, a search."""

from __future__ import annotations

from tests.simulation.bugs import Bug

LIES = (
    Bug(
        "believe a refusal",
        "apply/sending.py",
        "    look = await _look(run, letter, waits=splits) if error.status else Look(Effect.NONE)",
        "    look = Look(Effect.NONE)",
        "6",
    ),
    Bug(
        "take refused contacts that nobody can read for untouched",
        "apply/looking.py",
        "        return Look(Effect.FORBIDDEN, readings.blind)\n    return Look(Effect.UNREAD,",
        "        return Look(Effect.FORBIDDEN, readings.blind)\n    return Look(Effect.NONE,",
        "6",
    ),
    Bug(
        "take no heed of a date that a refused request moved",
        "apply/looking.py",
        'return f"{contact} was changed since it was sent" if _moved(reading, suspect.sent) else ""',
        'return ""',
        "6",
    ),
    Bug(
        "look at some where a refused tag starts something",
        "apply/looking.py",
        "(_look_at_all if starts else _look_at_some)",
        "_look_at_some",
        "6",
    ),
    Bug(
        "take a refused add that shows nothing at once for one without effect",
        "apply/looking.py",
        "if (wait := suspect.sent + run.options.settle_ms - run.now()) > 0:",
        "if (wait := suspect.sent + run.options.settle_ms - run.now()) > 10**9:",
        "6",
    ),
    Bug(
        "give up where both halves are refused",
        "apply/refusing.py",
        "            return await _single_out(run, part, failed, tags_cut=tags_cut)",
        "            raise _hopeless(part.error)",
        "15",
    ),
    Bug(
        "take a redirect for known not to have had an effect",
        "highlevel/connection.py",
        "        if status >= 500 or",
        "        if 300 <= status < 400:\n            return NotApplied(told)\n        if status >= 500 or",
        "6",
    ),
    Bug(
        "take a reading under another id for the contact's own",
        "highlevel/reader.py",
        "        if found.id != contact:",
        "        if not found.id:",
        "8",
    ),
    Bug(
        "take whatever refuses a reading for an absence",
        "highlevel/reader.py",
        "    if isinstance(error, RequestRefused) and 400 <= status < 500:",
        "    if isinstance(error, RequestRefused):\n        return Rejection.DELETED\n    if status < 0:",
        "8 10",
    ),
    Bug(
        "take a contact without its location for another location's",
        "apply/reading.py",
        '    if found.location not in (run.location, ""):',
        "    if found.location != run.location:",
        "8",
    ),
    Bug(
        "keep the token that a row says",
        "highlevel/connection.py",
        "body=without(self._secrets, answer.body)",
        "body=answer.body",
        "11",
    ),
    Bug(
        "look for a holder in a PID namespace that is not his",
        "store/processes.py",
        "    if (holder.boot_id, holder.pid_namespace) != (ours.boot_id, ours.pid_namespace):",
        "    if holder.boot_id != ours.boot_id:",
        "9",
    ),
    Bug(
        "send what a plan file says",
        "core/proposal.py",
        "    deltas, _ = within(fresh.deltas, ceiling(proposed))\n",
        "    deltas, _ = within(fresh.deltas, ceiling(proposed))\n    return proposed\n",
        "10",
    ),
    Bug(
        "let an approval cover every attempt",
        "core/attempts.py",
        "        if (at := known.last_tried(change.action, change.tag)) is not None:",
        "        if (at := known.last_tried(change.action, change.tag)) is not None and at < 0:",
        "6 7",
    ),
    Bug(
        "leave under management what an undone run adopted",
        "core/revert.py",
        "        return self._unchanged - self._wanted",
        "        return self._unchanged & NONE",
        "2",
    ),
    Bug(
        "learn of no other spelling",
        "core/alias.py",
        "            if alike:\n",
        "            if not alike and not tags:\n",
        "6 10",
    ),
    Bug(
        "take by owned authority what is kept",
        "core/decision.py",
        "return self.situation.kept & self.owned if self.want.authority is Authority.OWNED else NONE",
        "return NONE",
        "2",
    ),
    Bug(
        "take a lagging search for the present",
        "core/refreshing.py",
        "INDEX_LAG_MS = 300_000",
        "INDEX_LAG_MS = 0",
        "6 2",
    ),
)
