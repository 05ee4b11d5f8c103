"""Many locations at one address are as far apart as if each had its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import Instant, LocationId
from reconciler.sandbox import in_background
from reconciler.sandbox.access import FORM, Limits, SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, NO_TOKEN, SCOPES, Access, App, sandbox_token
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.messages import NO_ACCESS, Request, Response
from reconciler.sandbox.people import LocationField
from reconciler.sandbox.saved_world import load_locations, make_locations, save_locations
from reconciler.sandbox.world import FOREIGN, World
from tests.build import HERE, NOW, contact, name
from tests.sandbox.builders import HEADERS, document
from tests.sandbox.faults import Fault, FaultKind, FaultPlan, Network

THERE = LocationId("thereRwHvLUxlfw5SqKV")
ANNA, BERT = name("Anna"), name("Bert")
ACCESSES = {HERE: Access(sandbox_token(HERE)), THERE: Access(sandbox_token(THERE))}


def two_apps(**limits: int) -> list[App]:
    """Anna lives here, Bert there; `limits` are those of the first."""
    worlds = World(HERE, [contact(ANNA, "a")]), World(THERE, [contact(BERT, "b", location=THERE)])
    first, second = (ACCESSES[world.location] for world in worlds)
    return [App(worlds[0], accesses=[first], limits=Limits(**limits)), App(worlds[1], accesses=[second])]


def ask(locations: Locations, token: str, method: str, path: str, body: object = None, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    merged = HEADERS | {"authorization": f"Bearer {token}"} | headers
    response = locations.handle(Request(method, path, merged, raw), NOW).response
    assert response is not None
    return response


def add(locations: Locations, token: str, location: str, *contacts: str) -> Response:
    body = {"contacts": contacts, "tags": ["x"], "locationId": location}
    return ask(locations, token, "POST", "/contacts/bulk/tags/update/add", body)


def test_a_token_reads_and_changes_its_own_location_only() -> None:
    locations = Locations(two_apps())
    own = sandbox_token(HERE)
    search = {"locationId": THERE, "pageLimit": 10}

    assert ask(locations, own, "GET", f"/contacts/{ANNA}").status == 200
    refused = [
        ask(locations, own, "GET", f"/contacts/{BERT}"),
        ask(locations, own, "GET", f"/locations/{THERE}/tags"),
        ask(locations, own, "GET", f"/locations/{THERE}/customFields"),
        ask(locations, own, "GET", f"/contacts/search/duplicate?locationId={THERE}&email=a@example.com"),
        ask(locations, own, "POST", "/contacts/search", search),
        ask(locations, own, "POST", f"/contacts/{BERT}/tags", {"tags": ["x"]}),
        add(locations, own, THERE, BERT),
    ]
    assert [(each.status, document(each)["message"]) for each in refused] == [(403, NO_ACCESS)] * len(refused)
    assert locations.at(THERE).app.world.transitions == []


def test_the_row_of_a_neighbours_contact_says_that_it_is_foreign() -> None:
    locations = Locations(two_apps())
    rows = document(add(locations, sandbox_token(HERE), HERE, ANNA, BERT, name("Nobody")))["responses"]

    assert [row["message"] for row in rows] == ["Tags updated", FOREIGN, "contact is deleted"]
    assert locations.at(THERE).app.world.transitions == []


@pytest.mark.parametrize("token", ["", "pit-sandbox-nowhere", DEMO_TOKEN])
def test_a_token_of_no_location_is_told_nothing_of_any(token: str) -> None:
    response = ask(Locations(two_apps()), token, "GET", f"/contacts/{ANNA}")

    assert (response.status, document(response)["message"], response.headers) == (401, NO_TOKEN, ())


def test_each_location_has_its_own_limits() -> None:
    locations = Locations(two_apps(requests=1))
    statuses = [
        ask(locations, sandbox_token(place), "GET", f"/locations/{place}/tags").status for place in (HERE, HERE, THERE)
    ]
    headers = dict(ask(locations, sandbox_token(THERE), "GET", f"/locations/{THERE}/tags").headers)

    assert statuses == [200, 429, 200]
    assert headers["X-RateLimit-Remaining"] == "98"


def test_an_agencys_token_is_exchanged_for_each_location() -> None:
    agency = SandboxAgency("agency", "company", SCOPES)
    apps = [App(app.world, accesses=(), agency=agency) for app in two_apps()]
    locations = Locations(apps)

    def exchange(location: str) -> Response:
        body = f"companyId=company&locationId={location}".encode()
        return ask(locations, "agency", "POST", "/oauth/locationToken", body, **{"content-type": FORM})

    here, there = (document(exchange(location))["access_token"] for location in (HERE, THERE))
    assert here != there
    assert add(locations, here, HERE, ANNA).status == 201
    assert add(locations, there, THERE, BERT).status == 201
    assert add(locations, here, THERE, BERT).status == 403
    assert add(locations, "agency", HERE, ANNA).status == 401
    # one that the agency does not have, and a form that names none
    assert (exchange("elsewhere").status, exchange("").status) == (400, 422)


def test_faults_of_one_location_are_not_anothers() -> None:
    first, second = two_apps()
    locations = Locations([Network(first, FaultPlan({0: Fault(FaultKind.ERROR_BEFORE)})), second])

    assert add(locations, sandbox_token(THERE), THERE, BERT).status == 201
    assert add(locations, sandbox_token(HERE), HERE, ANNA).status == 503
    assert add(locations, sandbox_token(HERE), HERE, ANNA).status == 201


def test_two_locations_are_never_the_same() -> None:
    (first, _), (_, second) = two_apps(), two_apps()
    for apps in ([first, first], [App(first.world), App(second.world)], []):
        with pytest.raises(ValueError, match="location"):
            Locations(apps)


def test_a_server_has_them_all_and_each_is_changed_by_its_id() -> None:
    with in_background(Locations(two_apps())) as running:
        tags = running.do(lambda world, now: world.add(BERT, ["y"], now=now, by="somebody"), THERE)

        assert tags == running.at(THERE).app.world.tags_of(BERT) == {"b", "y"}
        assert running.at(HERE).app.world.transitions == []
        with pytest.raises(ValueError, match="unpack"):
            _ = running.world


def test_a_file_keeps_every_location_with_its_tokens_limits_and_fields(tmp_path: Path) -> None:
    first, second = two_apps(requests=25, requests_per_day=10_000)
    first.world.custom_fields = (LocationField("f1", "Customer number", "contact.customer_no"),)
    first.world.bulk("add", [ANNA], ["x"], now=Instant(NOW), by="api")
    save_locations(tmp_path / "many.json", [second, first])
    loaded = load_locations(tmp_path / "many.json")
    save_locations(tmp_path / "again.json", loaded)

    assert json.loads((tmp_path / "many.json").read_text())["format_version"] == "2.0"
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "many.json").read_bytes()
    by_location = {app.world.location: app for app in loaded}
    assert set(by_location) == {HERE, THERE}
    assert by_location[HERE].accesses == (ACCESSES[HERE],)
    assert by_location[HERE].limiter.limits == Limits(25, requests_per_day=10_000)
    assert by_location[HERE].world.custom_fields == first.world.custom_fields
    assert by_location[HERE].world.transitions == first.world.transitions
    assert by_location[THERE].world.tags_of(BERT) == {"b"}


def test_a_file_of_an_older_version_has_the_usual_token_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    save_locations(path, [App(two_apps()[0].world)])
    older = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("accesses", "limits")}
    path.write_text(json.dumps(older | {"format_version": "1.2"}))
    (app,) = load_locations(path)

    assert (app.tokens, app.limiter.limits) == ({DEMO_TOKEN}, Limits())


@pytest.mark.parametrize(
    ("locations", "message"),
    [
        ([], "is damaged: locations is not a list of objects"),
        ([1], "is damaged: locations[0]: contacts is not a list of objects"),
        ("same", "is damaged: locations: two locations have the same id or the same token"),
        ("limits", "is damaged: locations[0]: limits: a rate limit below 1 lets nothing through"),
    ],
)
def test_a_damaged_file_of_many_says_where(tmp_path: Path, locations: object, message: str) -> None:
    path = tmp_path / "many.json"
    save_locations(path, two_apps())
    saved = json.loads(path.read_text())
    first = saved["locations"][0]
    damaged = {"same": [first, first], "limits": [first | {"limits": {"requests": 0}}]}
    given = damaged[locations] if isinstance(locations, str) else locations
    path.write_text(json.dumps(saved | {"locations": given}))

    with pytest.raises(InvalidInput) as caught:
        load_locations(path)
    assert caught.value.problems[0].message == message


@pytest.mark.slow
def test_made_up_locations_follow_from_their_seed_and_share_nobody() -> None:
    worlds = make_locations(30, seed=3, contacts=20)
    again = make_locations(30, seed=3, contacts=20)

    assert [dict(world.contacts) for world in worlds] == [dict(world.contacts) for world in again]
    assert len({world.location for world in worlds}) == 30
    assert len({contact for world in worlds for contact in world.contacts}) == 600
    assert make_locations(1, seed=4, contacts=1)[0].location != worlds[0].location
