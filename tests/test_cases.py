"""Golden folders: manifests and what was observed in, plan out. `pytest --bless` rewrites the plans; review the diff.

`tests/cases/<name>/`: `manifests/`, `observed.json` (`now`, per location `serial`, contacts and `aliases`, tags that it
keeps otherwise; and `searched`: the exclusive tags whose holders were looked for), and the plan as `plan.json` and
`plan.txt`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.formats.plan_json import plan_document
from reconciler.core.manifests.resolve import resolve
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.manifest import Manifest
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, TagSet, parse_instant
from reconciler.core.model.outcome import Rejection
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, combine_plans
from reconciler.core.planning.situation import NOT_SEARCHED, Searched
from reconciler.core.planning.tag_aliases import make_spelling
from reconciler.loading import load
from reconciler.output.plan_view import plan_view
from reconciler.output.text import render_text
from tests.build import plan_options

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
LINEAGE = "00000000-0000-4000-8000-000000000000"


def _tags(names: list[str]) -> TagSet:
    return frozenset(Tag(name) for name in names)


def _known(item: dict[str, Any], now: Instant) -> ContactState:
    observed, doubt = item.get("observed"), _tags(item.get("doubt", []))
    return ContactState(
        observed=None if observed is None else _tags(observed),
        observed_at=None if observed is None else now,
        origin=ObservationOrigin.NEVER if observed is None else ObservationOrigin.WRITE,
        ledger=_tags(item.get("ledger", [])),
        kept=_tags(item.get("kept", [])),
        doubt=doubt,
        doubt_at=now if doubt else None,
        quarantine=Rejection(item["quarantine"]) if "quarantine" in item else None,
        quarantined_at=now if "quarantine" in item else None,
    )


def _state(location: LocationId, document: dict[str, Any], now: Instant) -> LocationState:
    found = document.get(location)
    if found is None:
        return LocationState(location)
    observed = ContactStates()
    observed.update({ContactId(contact): _known(item, now) for contact, item in found["contacts"].items()})
    sizes = {SetName(name): size for name, size in found.get("set_sizes", {}).items()}
    facts = Facts().with_aliases((Tag(sent), Tag(kept)) for sent, kept in found.get("aliases", {}).items())
    spelt = make_spelling(facts.aliases)
    return LocationState(location, LINEAGE, found["serial"], spelt.spell_states(observed), sizes, facts, spelt)


def _searched(item: dict[str, list[str]], now: Instant) -> Searched:
    return Searched(_tags(item["tags"]), _tags(item["complete"]), now) if item else NOT_SEARCHED


def _plan(case: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(case)
    document = json.loads((case / "observed.json").read_text())
    now = parse_instant(document.pop("now"))
    loaded = load("manifests", now=now)
    manifests: dict[LocationId, list[Manifest]] = {}
    for manifest in loaded.manifests:
        manifests.setdefault(manifest.location, []).append(manifest)
    options = plan_options(limits=loaded.settings.guards, searched=_searched(document.pop("searched", {}), now))
    plans = [
        plan_location(
            resolve(group, now=now, shared_rules=loaded.settings.rules, authority=loaded.settings.authority),
            _state(location, document, now),
            options,
        )
        for location, group in manifests.items()
    ]
    return combine_plans(plans, as_of=now, manifests="manifests")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, monkeypatch: pytest.MonkeyPatch, bless: bool) -> None:
    plan = _plan(case, monkeypatch)
    found = {
        "plan.json": json.dumps(plan_document(plan), indent=1, ensure_ascii=False) + "\n",
        "plan.txt": render_text(plan_view(plan)),
    }
    for name, text in found.items():
        if bless:
            (case / name).write_text(text)
        assert (case / name).read_text() == text
