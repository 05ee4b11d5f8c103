"""Bugs to plant in pull and match, one at a time, and the rule of `judge.py` that has to notice each."""

from __future__ import annotations

from tests.simulation.bugs import Bug

PEOPLE_BUGS = (
    Bug(
        "take who is not found for one who left",
        "core/manifests/match.py",
        "return self._before.intersection(contacts) if contacts else _NONE",
        "return _NONE",
        "leaves",
    ),
    Bug(
        "take the first of several contacts",
        "core/manifests/match.py",
        "        if len(contacts) > 1:\n",
        "        contacts = contacts[:1]\n        if len(contacts) > 1:\n",
        "enters ends",
    ),
    Bug(
        "prune the first where a second contact has the value",
        "core/manifests/match.py",
        "self._held |= self._before.intersection(contacts) | self._former_of(value)",
        "self._held |= self._former_of(value)",
        "leaves",
    ),
    Bug(
        "take a row with one value that is none for malformed",
        "core/manifests/match.py",
        "malformed = values.count(NO_VALUE) == len(values)",
        "malformed = NO_VALUE in values",
        "counts",
    ),
    Bug(
        "keep a value that a contact has no more",
        "core/model/people.py",
        "        for value in before - after:\n",
        "        for value in after - after:\n",
        "enters ends",
    ),
    Bug(
        "take contacts that a search hides for gone",
        "pull/__init__.py",
        "await self._read_missing(sorted(self.wanted.contacts - scan.shown))",
        "self._keep(PeopleLot(self._status(), gone=frozenset(self.wanted.contacts - scan.shown)))",
        "leaves ends",
    ),
    Bug(
        "take a search that hid contacts for a complete one",
        "pull/__init__.py",
        "        if scan.why_incomplete:\n            await self._keep(PeopleLot(status))\n",
        "        if scan.why_incomplete is None:\n            await self._keep(PeopleLot(status))\n",
        "reads",
    ),
    Bug(
        "read changes without the lag of the index",
        "pull/__init__.py",
        "since = Instant(status.read_until - INDEX_LAG_MS)",
        "since = Instant(status.read_until)",
        "ends",
    ),
    Bug(
        "forget who had which value where other values are asked for",
        "pull/__init__.py",
        "self.anew = status.key_check != wanted.key_check",
        "self.anew = not is_of_use(status, wanted.key_check, wanted.covers)",
        "leaves ends",
    ),
    Bug(
        "keep a snapshot that a guard refuses",
        "operations/pull.py",
        "if snapshot is not None and entry.is_new:",
        "if snapshot is not None:",
        "keeps",
    ),
    Bug(
        "count nobody's rows as matched",
        "core/planning/guard_measures.py",
        "unmatched = counts.not_found + counts.ambiguous + counts.malformed",
        "unmatched = counts.ambiguous + counts.malformed",
        "guards",
    ),
    Bug(
        "drop the snapshots of sets that were not chosen",
        "operations/pull.py",
        "[name for name in stored.keys() - matched if stored[name].as_of < oldest]",
        "[name for name in stored.keys() - snapshots.keys()]",
        "keeps",
    ),
    Bug(
        "plan by no snapshot",
        "loading/build.py",
        "ids = () if match.snapshot is None else match.snapshot.contacts",
        "ids = ()",
        "plans ends",
    ),
    Bug(
        "plan by a snapshot of any age",
        "core/model/people.py",
        "return Instant(self.snapshot.as_of + self.max_age_ms)",
        "return Instant(self.snapshot.as_of + 1000 * self.max_age_ms)",
        "plans",
    ),
    Bug(
        "plan by the ids of one pull and the facts of another",
        "loading/snapshot_files.py",
        "if digest != _digest(ids):",
        "if not digest:",
        "keeps plans",
    ),
    Bug(
        "keep addresses as they are",
        "core/manifests/match.py",
        'digest = hmac.digest(key, prefix + value.encode(errors="surrogatepass"), "sha256")',
        "digest = value.encode()[:16].ljust(16)",
        "leaks",
    ),
)
