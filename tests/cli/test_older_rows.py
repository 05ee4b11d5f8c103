"""A search just after a write shows what was before it: that is set aside, told, and read by id where that is cheap."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.listening import Listening

Manifest = Callable[..., None]
GET, SEARCH = "GET /contacts/id", "POST /contacts/search"
OTHERS = 20
SAID = "6 of 26 rows of the search were older than what earlier runs were told, and said otherwise: set aside"


@pytest.fixture
def world() -> World:
    """An index that is an hour behind: it shows nobody with a tag."""
    contacts = [Contact(contact_id(number), LOCATION) for number in range(6 + OTHERS)]
    return World(LOCATION, contacts, assumptions=Assumptions(search_lag_ms=3_600_000))


@pytest.fixture
def network(world: World) -> Listening:
    return Listening(App(world))


@pytest.fixture
def sandbox(network: Listening) -> Iterator[Running]:
    with in_background(network) as running:
        yield running


@pytest.fixture
def applied(reconciler: Command, manifest: Manifest, network: Listening) -> None:
    manifest(customers=(range(6), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    network.since()


COMMANDS = {"refresh": ("refresh", "--method"), "drift": ("drift", "--refresh"), "plan": ("plan", "--refresh")}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.usefixtures("applied")
def test_rows_that_contradict_what_is_known_since_are_told(
    command: tuple[str, ...], reconciler: Command, network: Listening
) -> None:
    ended = reconciler(*command, "search")
    assert " ".join(ended.out.split()).count(f"{SAID}; the index lags: read by id (get), or search again") == 1
    assert network.since() == {SEARCH: 2}
    for document in ("markdown", "html"):
        assert "6 of 26 rows of the search were older" in reconciler(*command, "search", "--format", document).out
    (found,) = json.loads(reconciler(*command, "search", "--format", "json").out)["locations"]
    told = found["searched"] if command[0] == "plan" else found
    assert told["older_rows"] == {"rows": 26, "contradicting": 6, "read_again": 0}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.usefixtures("applied")
def test_auto_reads_these_contacts_by_id(command: tuple[str, ...], reconciler: Command, network: Listening) -> None:
    ended = reconciler(*command, "auto")
    assert f"{SAID}; 6 of these contacts were read by id." in " ".join(ended.out.split())
    assert network.since() == {SEARCH: 2, GET: 6}


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_what_others_did_just_now_is_seen_behind_a_row_that_was_set_aside(
    reconciler: Command, sandbox: Running
) -> None:
    """The row says "no tag", as before the apply; only a reading by id knows that somebody took it off since."""
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    assert reconciler("drift", "--refresh", "search", "--fail-on", "missing").code == 0
    ended = reconciler("drift", "--refresh", "auto", "--fail-on", "missing")
    assert (ended.code, "1 tag missing" in ended.out) == (2, True)


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_saved_plan_tells_it_again(reconciler: Command) -> None:
    assert reconciler("plan", "--refresh", "search", "--out", "plan.json").code == 0
    assert SAID in " ".join(reconciler("show", "plan.json").out.split())


def test_rows_that_say_the_same_are_no_news_and_not_told(reconciler: Command, manifest: Manifest) -> None:
    """Each row counts as observed 5 minutes before; that alone is no contradiction."""
    manifest(customers=(range(6), ["customer"], []))
    assert reconciler("refresh", "--method", "get").code == 0
    assert "older" not in reconciler("refresh", "--method", "search").out
    (found,) = json.loads(reconciler("refresh", "--method", "search", "--format", "json").out)["locations"]
    assert found["older_rows"] is None
