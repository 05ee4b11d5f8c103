"""The emulated API answers as the vendor documents, and refuses what the vendor refuses."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sandbox.app import READ_CONTACTS, READ_FIELDS, READ_TAGS, SCOPES, SOMEBODY, WRITE_CONTACTS, Access, App
from reconciler.sandbox.assumptions import Merged, Oversize
from reconciler.wire import read_bulk_answer
from tests.build import HERE, NOW
from tests.sandbox.builders import ANNA, BERT, CARA, ELSEWHERE, FOREIGN, GONE, NOBODY, a_world, bulk, call, document

GONE_ROW = (CARA, "error")
ADD = "/contacts/bulk/tags/update/add"
GOOD = {"contacts": [ANNA], "tags": ["x"], "locationId": HERE}


def test_a_bulk_add_answers_one_row_a_contact() -> None:
    response = bulk(App(a_world()), "add", [ANNA, "abcdef", GONE, FOREIGN, NOBODY], ["A", " b "])

    assert response.status == 201
    assert document(response) == {
        "succeded": True,
        "errorCount": 4,
        "responses": [
            {
                "contactId": ANNA,
                "message": "Tags updated",
                "type": "success",
                "oldTags": ["a"],
                "tagsAdded": ["b"],
                "tagsRemoved": [],
            },
            {"contactId": "abcdef", "message": "contact id is not a valid firebase id", "type": "error"},
            {"contactId": GONE, "message": "contact is deleted", "type": "error"},
            {"contactId": FOREIGN, "message": "contact does not belong to location", "type": "error"},
            {"contactId": NOBODY, "message": "contact is deleted", "type": "error"},
        ],
    }


def test_a_bulk_remove_takes_what_is_there() -> None:
    app = App(a_world())
    (anna, bert) = document(bulk(app, "remove", [ANNA, BERT], ["b", "c"]))["responses"]

    assert (anna["tagsRemoved"], bert["tagsRemoved"]) == ([], ["b"])
    assert app.world.tags_of(BERT) == {"a"}


def test_remove_all_tags_removes_all() -> None:
    app = App(a_world())
    response = call(
        app, "POST", "/contacts/bulk/tags/update/remove", GOOD | {"contacts": [BERT], "tags": [], "removeAllTags": True}
    )

    assert (response.status, app.world.tags_of(BERT)) == (201, frozenset())


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"version": None}, 401, "version header was not found."),
        ({"version": "2020-01-01"}, 400, "version header is invalid"),
        ({"authorization": None}, 401, "Invalid token: access token is invalid"),
        ({"authorization": "Bearer pit-wrong"}, 401, "Invalid token: access token is invalid"),
        ({"authorization": "Basic pit-wrong"}, 401, "Invalid token: access token is invalid"),
    ],
)
def test_a_request_without_credentials_is_refused(headers: dict[str, str | None], status: int, message: str) -> None:
    response = call(App(a_world()), "POST", ADD, GOOD, headers=headers)

    assert response.status == status
    named = {} if status == 400 else {"error": "Unauthorized"}
    assert document(response) == {"statusCode": status, "message": message} | named


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"contacts": [ANNA], "tags": ["x"]}, 400, "LocationId can't be undefined"),
        ([], 400, "LocationId can't be undefined"),
        (None, 400, "LocationId can't be undefined"),
        (b"{", 400, "the request body is not valid JSON"),
        (b"\xff", 400, "the request body is not valid JSON"),
        (b"[NaN]", 400, "the request body is not valid JSON"),
        (b"[" * 100_000, 400, "the request body is not valid JSON"),
        (GOOD | {"locationId": ELSEWHERE}, 403, "The token does not have access to this location."),
        (GOOD | {"locationId": 7}, 422, ["locationId must be a string"]),
        (
            {"contactIds": [ANNA], "tags": ["x"], "locationId": HERE},
            422,
            ["property contactIds should not exist", "contacts must be an array"],
        ),
        (GOOD | {"tags": "x"}, 422, ["tags must be an array"]),
        (GOOD | {"tags": [1]}, 422, ["each value in tags must be a string"]),
        (GOOD | {"tags": []}, 422, ["tags should not be empty"]),
        (GOOD | {"tags": [" "]}, 422, ["each value in tags should not be empty"]),
        (GOOD | {"contacts": []}, 422, ["contacts should not be empty"]),
        (GOOD | {"contacts": [ANNA] * 501}, 422, ["contacts must contain not more than 500 elements"]),
        (GOOD | {"tags": [str(n) for n in range(51)]}, 422, ["tags must contain not more than 50 elements"]),
        (GOOD | {"removeAllTags": True}, 422, ["removeAllTags can only be used with remove type"]),
        (GOOD | {"removeAllTags": 1}, 422, ["removeAllTags must be a boolean value"]),
        (GOOD | {"removeAllTags": [1]}, 422, ["removeAllTags must be a boolean value"]),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(body: object, status: int, message: object) -> None:
    app = App(a_world())
    response = call(app, "POST", ADD, body)

    assert (response.status, document(response)["message"]) == (status, message)
    assert ("error" in document(response)) is (status != 400)
    assert app.world.transitions == []


def test_a_body_that_is_not_said_to_be_json_is_not_read() -> None:
    assert call(App(a_world()), "POST", ADD, GOOD, headers={"content-type": "text/plain"}).status == 400


@pytest.mark.parametrize(
    ("switch", "body", "expected"),
    [
        ({"extra_keys_refused": False}, GOOD | {"more": 1}, {"status": 201}),
        ({"empty_lists_refused": False}, GOOD | {"contacts": [], "tags": []}, {"responses": []}),
        ({"blank_tags_refused": False}, GOOD | {"tags": ["", "y"]}, {"added": [["y"]]}),
        ({"longest_tag": 2}, GOOD | {"tags": ["abc"]}, {"status": 422}),
        ({"remove_all_on_add_refused": False}, GOOD | {"removeAllTags": "true"}, {"added": [["x"]]}),
        ({"oversize": Oversize.ACCEPTED, "max_tags": 1}, GOOD | {"tags": ["x", "y"]}, {"added": [["x", "y"]]}),
        ({"oversize": Oversize.CUT, "max_contacts": 1}, GOOD | {"contacts": [ANNA, BERT]}, {"added": [["x"]]}),
        ({}, GOOD | {"contacts": [CARA, CARA]}, {"added": [["x"], []]}),
        ({"repeats_give_rows": False}, GOOD | {"contacts": [CARA, CARA]}, {"added": [["x"]]}),
        ({"rows_as_sent": False}, GOOD | {"contacts": [CARA, ANNA]}, {"contacts": [ANNA, CARA]}),
        ({"counts_errors": False}, GOOD | {"contacts": [GONE]}, {"errorCount": 0, "succeded": True}),
        ({"succeeds_with_errors": False}, GOOD | {"contacts": [GONE]}, {"errorCount": 1, "succeded": False}),
        ({"spells_succeeded": True}, GOOD, {"succeded": True, "succeeded": True}),
        ({"spells_succeded": False}, GOOD, {"succeded": None, "succeeded": True}),
        ({"lowercases_tags": False}, GOOD | {"tags": ["A"]}, {"added": [["A"]]}),
        ({"trims_tags": False}, GOOD | {"tags": [" a"]}, {"added": [[" a"]]}),
        ({"collapses_spaces": True}, GOOD | {"tags": ["x  y"]}, {"added": [["x y"]]}),
        ({"oversize_names_limit": False, "max_tags": 0}, GOOD, {"status": 400, "message": "Bad Request"}),
        ({"changes_as_asked": True}, GOOD | {"tags": [" A ", "y"]}, {"added": [[" A ", "y"]]}),
        ({"unknown_contact": "what?"}, GOOD | {"contacts": [NOBODY]}, {"messages": ["what?"]}),
    ],
)
def test_an_assumption_can_do_the_opposite(switch: dict[str, Any], body: object, expected: dict[str, Any]) -> None:
    response = call(App(a_world(**switch)), "POST", ADD, body)
    found = document(response)
    rows = found.get("responses", [])
    told = found | {
        "status": response.status,
        "added": [row.get("tagsAdded") for row in rows],
        "contacts": [row["contactId"] for row in rows],
        "messages": [row["message"] for row in rows],
    }

    assert {key: told.get(key) for key in expected} == expected


def test_rows_as_text_read_like_rows_as_objects() -> None:
    as_text = bulk(App(a_world(rows_as_text=True)), "add", [ANNA, GONE], ["x"])

    as_objects = bulk(App(a_world()), "add", [ANNA, GONE], ["x"])
    assert list(read_bulk_answer(as_text.body)) == list(read_bulk_answer(as_objects.body))
    assert isinstance(document(as_text)["responses"][0], str)


def test_version_3_spells_both() -> None:
    found = document(bulk(App(a_world()), "add", [ANNA], ["x"], headers={"version": "v3"}))

    assert found["succeeded"] is found["succeded"] is True


def test_a_contact_is_shown_with_its_tags() -> None:
    found = document(call(App(a_world()), "GET", f"/contacts/{BERT}"))["contact"]

    assert (found["id"], found["locationId"], found["tags"]) == (BERT, HERE, ["a", "b"])
    assert found["dateUpdated"].endswith("Z")


@pytest.mark.parametrize(("name", "status"), [(GONE, 400), (NOBODY, 400), ("%7B", 400), (FOREIGN, 403)])
def test_a_contact_that_cannot_be_shown(name: str, status: int) -> None:
    assert call(App(a_world()), "GET", f"/contacts/{name}").status == status


def test_how_a_missing_contact_is_told_is_an_assumption() -> None:
    app = App(a_world(missing_contact_status=404, missing_contact_message="contact is deleted"))
    response = call(app, "GET", f"/contacts/{GONE}")

    assert (response.status, document(response)["message"]) == (404, "contact is deleted")


@pytest.mark.parametrize("version", ["2021-07-28", "2023-02-21", "v3"])
def test_the_versions_that_are_taken(version: str) -> None:
    assert call(App(a_world()), "POST", ADD, GOOD, headers={"version": version}).status == 201


def test_an_unknown_version_may_be_refused_as_a_token_is() -> None:
    app = App(a_world(unknown_version_status=401))
    assert call(app, "POST", ADD, GOOD, headers={"version": "2020-01-01"}).status == 401


def test_every_second_write_may_be_refused_once_it_took_effect() -> None:
    app = App(a_world(writes_refused_after_effect=2))
    statuses = [bulk(app, "add", [CARA], [tag]).status for tag in ("x", "y", "z")]
    assert (statuses, app.world.tags_of(CARA)) == ([201, 422, 201], {"x", "y", "z"})


def test_a_tag_that_the_location_never_had_may_be_refused() -> None:
    app = App(a_world(unknown_tags_refused=True))
    refused = bulk(app, "add", [CARA], ["a", "new"])
    assert (refused.status, document(refused)["message"]) == (422, ["tag new does not exist"])
    assert call(app, "POST", f"/contacts/{CARA}/tags", {"tags": ["new"]}).status == 422
    assert (bulk(app, "add", [CARA], ["A"]).status, bulk(app, "remove", [CARA], ["new"]).status) == (201, 201)


def test_a_contact_may_be_shown_under_another_id() -> None:
    shown = document(call(App(a_world(read_under_other_id=1)), "GET", f"/contacts/{ANNA}"))["contact"]
    assert (shown["id"] == ANNA, shown["tags"]) == (False, ["a"])


def test_a_contact_may_be_shown_without_its_location() -> None:
    found = document(call(App(a_world(read_without_location=True)), "GET", f"/contacts/{ANNA}"))["contact"]

    assert (found["id"], "locationId" in found) == (ANNA, False)


def test_what_a_read_shows_may_be_old() -> None:
    app = App(a_world(read_lag_ms=5_000))
    bulk(app, "add", [ANNA], ["x"])
    tags = [
        document(call(app, "GET", f"/contacts/{ANNA}", now=NOW + ms))["contact"]["tags"] for ms in (0, 4_999, 5_000)
    ]

    assert tags == [["a"], ["a"], ["a", "x"]]


def test_what_was_removed_may_be_named_as_it_was_asked() -> None:
    (row,) = document(bulk(App(a_world(changes_as_asked=True)), "remove", [ANNA], ["A", "y"]))["responses"]

    assert (row["oldTags"], row["tagsAdded"], row["tagsRemoved"]) == (["a"], [], ["A", "y"])


@pytest.mark.parametrize(
    ("switch", "told"),
    [
        ({}, (GONE_ROW, 400)),
        ({"merged_row": Merged.UNDER_OWN_ID, "merged_reads_as_survivor": True}, ((CARA, "success"), BERT)),
        ({"merged_row": Merged.UNDER_SURVIVOR}, ((BERT, "success"), 400)),
    ],
)
def test_a_merged_contact_is_gone_or_is_the_survivor(switch: dict[str, Any], told: tuple[object, object]) -> None:
    app = App(a_world(**switch))
    app.world.add(CARA, ["c"], now=NOW, by=SOMEBODY)
    app.world.merge(CARA, BERT, now=NOW)
    (row,) = document(bulk(app, "add", [CARA], ["x"]))["responses"]
    read = call(app, "GET", f"/contacts/{CARA}")

    shown = document(read)["contact"]["id"] if read.status == 200 else read.status
    assert ((row["contactId"], row["type"]), shown) == told
    assert app.world.tags_of(BERT) == ({"a", "b", "c", "x"} if row["type"] == "success" else {"a", "b", "c"})
    assert "x" not in app.world.tags_of(CARA)


@pytest.mark.parametrize(("noop", "expected"), [(False, NOW - 86_400_000), (True, NOW)])
def test_what_moves_date_updated_is_an_assumption(noop: bool, expected: int) -> None:
    moving, still = a_world(noop_write_moves_date=noop), a_world(tag_write_moves_date=False)
    bulk(App(moving), "add", [ANNA], ["a"])
    bulk(App(still), "add", [ANNA], ["x"])

    assert moving.contacts[ANNA].updated == expected
    assert still.contacts[ANNA].updated == NOW - 86_400_000


def test_somebody_else_changes_one_contact() -> None:
    app = App(a_world())
    added = call(app, "POST", f"/contacts/{ANNA}/tags", {"tags": ["X"]})
    removed = call(app, "DELETE", f"/contacts/{ANNA}/tags", {"tags": ["a"]})

    assert (added.status, document(added)) == (201, {"tags": ["a", "x"]})
    assert (removed.status, document(removed)) == (200, {"tags": ["x"]})
    assert {change.by for change in app.world.transitions} == {SOMEBODY}


def test_the_tags_of_the_location_outlive_their_holders() -> None:
    app = App(a_world())
    bulk(app, "remove", [BERT], ["b"])
    found = document(call(app, "GET", f"/locations/{HERE}/tags"))["tags"]

    assert [tag["name"] for tag in found] == ["a", "b"]
    assert all(len(tag["id"]) == 20 and tag["locationId"] == HERE for tag in found)
    assert call(app, "GET", f"/locations/{ELSEWHERE}/tags").status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ADD),
        ("POST", "/contacts/bulk/tags/update/%7Btype%7D"),
        ("PUT", f"/contacts/{ANNA}"),
        ("POST", "/contacts/upsert"),
    ],
)
def test_nothing_else_exists(method: str, path: str) -> None:
    assert call(App(a_world()), method, path, GOOD).status == 404


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (WRITE_CONTACTS, "POST", ADD),
        (WRITE_CONTACTS, "POST", f"/contacts/{ANNA}/tags"),
        (READ_CONTACTS, "POST", "/contacts/search"),
        (READ_CONTACTS, "GET", f"/contacts/{ANNA}"),
        (READ_TAGS, "GET", f"/locations/{HERE}/tags"),
        (READ_CONTACTS, "GET", f"/contacts/search/duplicate?locationId={HERE}&email=a%40example.com"),
        (READ_FIELDS, "GET", f"/locations/{HERE}/customFields"),
    ],
)
def test_a_token_without_the_scope_is_refused(scope: str, method: str, path: str) -> None:
    app = App(a_world(), accesses=[Access(scopes=SCOPES - {scope})])
    response = call(app, method, path, GOOD)

    assert (response.status, document(response)["message"]) == (401, "The token is not authorized for this scope.")


def test_two_tokens_are_told_apart_in_the_log() -> None:
    app = App(a_world(), accesses=[Access("pit-1", name="one"), Access("pit-2", name="two")])
    for token in ("pit-1", "pit-2"):
        bulk(app, "add", [ANNA], [token], headers={"authorization": f"Bearer {token}"})

    assert [(change.by, change.tag) for change in app.world.transitions] == [("one", "pit-1"), ("two", "pit-2")]
