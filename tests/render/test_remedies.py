"""Every answer that has pairs which are held or refused names the commands that settle them, in every format."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.model.names import ContactId, Tag
from reconciler.core.planning.changes import FLAPPING, IN_DOUBT, UNCONFIRMED, HeldContacts
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.shortfalls import FLAPS, HELD, plan_remedies
from reconciler.output.document import spell
from tests.build import HERE, a_set, carries, declare, plan_options, state
from tests.render.documents import ANSWERS

COMMANDS = ("reconciler refresh", "reconciler apply --retry-held", "reconciler apply --retry-rejected")
HAVE_BOTH = ("plan", "run", "drift-classes", "state")


def _told(name: str, kind: str) -> str:
    text = "".join(spell(ANSWERS[name](), kind, whole=False))
    return " ".join(_remedies(json.loads(text))) if kind == "json" else html.unescape(text)


def _remedies(document: dict[str, Any]) -> list[str]:
    return [text for place in document.get("locations", [document]) for text in place.get("remedies", [])]


@pytest.mark.parametrize("kind", ["text", "markdown", "json", "html"])
@pytest.mark.parametrize("name", HAVE_BOTH)
def test_what_is_held_or_refused_names_its_commands(name: str, kind: str) -> None:
    told = _told(name, kind)
    assert [command for command in COMMANDS if command not in told] == []


@pytest.mark.parametrize("kind", ["text", "markdown", "json", "html"])
def test_a_run_that_met_a_refusal_and_a_contact_of_each_kind_name_theirs(kind: str) -> None:
    assert "reconciler apply --retry-rejected" in _told("log", kind)
    contact = _told("contact", kind)
    assert "reconciler apply --retry-held" in contact
    assert "reconciler apply --retry-rejected" in contact


def test_to_send_again_is_the_last_advice_on_what_is_held() -> None:
    """Another apply may be under way; after a killed one a plain apply reads and settles."""
    told = [HELD.index(words) for words in ("under way", "`reconciler apply`", "`reconciler refresh`", "--retry-held")]
    assert told == sorted(told)


@pytest.mark.parametrize(("why", "told"), [(IN_DOUBT, [HELD]), (UNCONFIRMED, [HELD]), (FLAPPING, [FLAPS])])
def test_each_kind_of_held_has_its_own(why: str, told: list[str]) -> None:
    plan = plan_location(
        declare(a_set("s", "anna", "vip")), LocationState(HERE, "6f1c", 1, state(anna=carries("vip"))), plan_options()
    )
    assert plan_remedies(plan) == []
    held = (HeldContacts(why, (Tag("vip"),), (ContactId("anna"),)),)
    assert plan_remedies(replace(plan, held=held)) == told
