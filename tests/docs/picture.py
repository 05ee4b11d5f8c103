"""docs/plan.svg: a plan of the example manifests as a terminal shows it, made by the program's own renderer.

The scene: everybody is as declared, but for twelve new gold customers, three VIPs who lost their tag, two who were
given `trial`, and forty customers who left the file.
"""

from __future__ import annotations

import io
import re
from contextlib import chdir
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.names import ContactId, SetName, Tag, TagSet, parse_instant
from reconciler.core.model.people import Snapshot
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, combine_plans
from reconciler.loading import load
from reconciler.output.blocks import name_in_view
from reconciler.output.plan import PlanDocument
from reconciler.output.text import render_text
from tests.build import contact_state, plan_options, state_of

ROOT = Path(__file__).parents[2]
NOW = parse_instant("2026-11-25T09:00:00Z")
WIDTH = 100
VIP, GOLD, TRIAL = Tag("vip"), Tag("gold support"), Tag("trial")
COMMAND = "$ reconciler plan manifests"


def text(*, colour: bool) -> str:
    """What the command prints."""
    with chdir(ROOT):
        loaded = load(
            Path("manifests"), environment={}, flags={}, now=NOW, find_snapshots=lambda *_: {SetName("vip"): _pulled()}
        )
    shared, authority = loaded.settings.rules, loaded.settings.authority
    desired = resolve(loaded.manifests, now=NOW, shared_rules=shared, authority=authority)
    snapshot = LocationState(desired.location, "6f1c8c4e-0000-4000-8000-000000000000", 41, state_of(_world(desired)))
    plan = combine_plans([plan_location(desired, snapshot, plan_options())], as_of=NOW, manifests="manifests")
    return render_text(
        name_in_view(PlanDocument(plan).view(), {desired.location: "Acme Outdoor"}), colour=colour, width=WIDTH
    )


def _pulled() -> Snapshot:
    """The VIPs as a pull found them: one of thirty customers, the first twenty."""
    rows = (ROOT / "manifests" / "contacts" / "customers.csv").read_text(encoding="utf-8").splitlines()[1:601:30]
    return Snapshot(tuple(sorted(ContactId(row.partition(",")[0]) for row in rows)), NOW, "")


def _world(desired: Desired) -> dict[ContactId, ContactState]:
    wanted = {contact: frozenset(desired.want(contact).present) for contact in sorted(desired.contacts)}
    vips = [contact for contact, tags in wanted.items() if VIP in tags]
    gold = [contact for contact, tags in wanted.items() if GOLD in tags and VIP not in tags]
    known = {contact: _carries(tags, managed=tags) for contact, tags in wanted.items()}
    known |= {each: _carries(wanted[each] - {GOLD}, managed=wanted[each] - {GOLD}) for each in gold[:12]}
    known |= {each: _carries(wanted[each] - {VIP}, managed=wanted[each]) for each in vips[:3]}
    known |= {each: _carries(wanted[each] | {TRIAL}, managed=wanted[each]) for each in vips[3:5]}
    left = frozenset({Tag("customer"), Tag("newsletter")})
    return known | {ContactId(f"left{number:016d}"): _carries(left | {TRIAL}, managed=left) for number in range(40)}


def _carries(tags: TagSet, *, managed: TagSet) -> ContactState:
    return contact_state(observed=tags, observed_at=NOW, origin=ObservationOrigin.WRITE, ledger=managed)


def picture() -> str:
    """The SVG. Its fonts are the reader's own: nothing is loaded from anywhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(COMMAND, style="bold"))
    console.print(Text.from_ansi(text(colour=True)))
    drawn = console.export_svg(title="reconciler plan", theme=MONOKAI, unique_id="plan")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.S)
    return "\n".join(line.rstrip() for line in drawn.splitlines() if line.strip()) + "\n"
