"""What a golden folder tells: manifests, what was known of the location, and the location as the emulated API has it.

`manifests/`; `observed.json`: `now`, per location `serial`, `set_sizes`, `contacts`, `aliases` (tags that it keeps
otherwise), and `searched`, the exclusive tags whose holders were looked for. `server.json`: the tags of each contact of
the one location, who is `deleted` and lives `elsewhere`, what is `assumed` of the API, the `faults` of its requests by
number, and `edits`, what others add and remove once a run is over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.manifest import Manifest
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, parse_instant
from reconciler.core.model.outcome import Rejection
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.situation import NOT_SEARCHED, Searched
from reconciler.core.planning.tag_aliases import make_spelling
from reconciler.loading import load
from reconciler.store import open_store
from tests.build import HERE, LINEAGE, contact, contact_state, ids, plan_options, state_of, tags
from tests.fakes import FakeClock, a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene

CASES = Path(__file__).parent / "cases"


def cases_of(command: str) -> list[Path]:
    return sorted(path for path in (CASES / command).iterdir() if path.is_dir())


@dataclass(frozen=True)
class Case:
    """A folder, read; the working directory has to be the folder, since plans and reports name paths."""

    path: Path
    known: dict[str, Any]
    now: Instant

    @classmethod
    def read(cls, path: Path) -> Case:
        known = json.loads((path / "observed.json").read_text())
        return cls(path, known, parse_instant(known.pop("now")))

    def desired(self, manifests: str = "manifests") -> dict[LocationId, Desired]:
        loaded = load(manifests, now=self.now)
        groups: dict[LocationId, list[Manifest]] = {}
        for manifest in loaded.manifests:
            groups.setdefault(manifest.location, []).append(manifest)
        rules, authority = loaded.settings.rules, loaded.settings.authority
        return {
            location: resolve(group, now=self.now, shared_rules=rules, authority=authority)
            for location, group in groups.items()
        }

    def options(self) -> Any:
        return plan_options(
            limits=load("manifests", now=self.now).settings.guards, searched=self.searched(), now=self.now
        )

    def searched(self) -> Searched:
        found = self.known.get("searched")
        return Searched(tags(found["tags"]), tags(found["complete"]), self.now) if found else NOT_SEARCHED

    def state(self, location: LocationId) -> LocationState:
        found = self.known.get(location)
        if found is None:
            return LocationState(location)
        observed = state_of({ContactId(who): _contact(item, self.now) for who, item in found["contacts"].items()})
        sizes = {SetName(name): size for name, size in found.get("set_sizes", {}).items()}
        facts = LocationFacts().with_aliases((Tag(sent), Tag(kept)) for sent, kept in found.get("aliases", {}).items())
        spelt = make_spelling(facts.aliases)
        return LocationState(location, LINEAGE, found["serial"], spelt.spell_states(observed), sizes, facts, spelt)

    def server(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "server.json").read_text())
        return found

    def scene(self, directory: Path) -> Scene:
        """The location, and its state in a store."""
        server = self.server()
        gone, away = ids(server.get("deleted", ())), ids(server.get("elsewhere", ()))
        contacts = [
            contact(who, carried, deleted=who in gone, location=THERE if who in away else HERE)
            for who, carried in server["contacts"].items()
        ]
        plan = {int(nth): Fault(FaultKind(kind)) for nth, kind in server.get("faults", {}).items()}
        scene = Scene(
            directory,
            *contacts,
            faults=FaultPlan(plan),
            options=self.options(),
            clock=FakeClock(self.now),
            **server.get("assumed", {}),
        )
        scene.wanted = self.desired()
        if HERE in self.known:
            with open_store(scene.url) as state:
                store = state.at(HERE)
                lease = store.acquire_lease(a_holder(), self.now)
                store.replace_state(lease, self.state(HERE), (), {})
                store.release_lease(lease)
        return scene

    def expect(self, bless: bool, found: dict[str, str]) -> None:
        for name, text in found.items():
            if bless:
                (self.path / name).write_text(text)
            assert (self.path / name).read_text() == text


def as_json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def carried(scene: Scene) -> dict[str, list[str]]:
    """What each contact of the location carries in the end."""
    return {contact: sorted(scene.here.crm.tags_of(contact)) for contact in sorted(scene.here.crm.contacts)}


def _contact(item: dict[str, Any], now: Instant) -> ContactState:
    observed, doubt = item.get("observed"), tags(item.get("doubt", ()))
    return contact_state(
        observed=None if observed is None else tags(observed),
        observed_at=None if observed is None else now,
        origin=ObservationOrigin.NEVER if observed is None else ObservationOrigin.WRITE,
        ledger=tags(item.get("ledger", ())),
        kept=tags(item.get("kept", ())),
        doubt=doubt,
        doubt_at=now if doubt else None,
        quarantine=Rejection(item["quarantine"]) if "quarantine" in item else None,
        quarantined_at=now if "quarantine" in item else None,
    )
