"""A plan as document and file: back as it was, refused when touched, open to later minor versions only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.formats.plan_json import FORMAT_VERSION, plan_document, read_plan, seal
from reconciler.core.model.errors import PlanFileError
from reconciler.core.model.names import Instant, Source, iso, parse_instant
from reconciler.core.model.safe_text import json_line
from reconciler.core.model.settings import GuardLimits, Reassert
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, combine_plans
from reconciler.core.planning.situation import Reassertion
from reconciler.planfile import load_plan, no_plan_file, parse_plan, plan_text, write_plan
from tests.build import HERE, NOW, a_set, carries, declare, plan_options, state, state_of
from tests.core.scenes import a_busy_plan
from tests.core.test_diff_laws import World, worlds

REFUSING = GuardLimits(max_adds=0)


def small_plan() -> Any:
    observed = state(anna=carries("é", ledger="é"))
    location = plan_location(declare(a_set("s", "anna", "x")), LocationState(HERE, "l", 1, observed), plan_options())
    return combine_plans([location], as_of=NOW, manifests="m")


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"digest": seal(document)}


@pytest.mark.parametrize("limits", [GuardLimits(), REFUSING])
def test_a_plan_comes_back_from_its_document(limits: GuardLimits) -> None:
    plan = a_busy_plan(limits=limits)
    assert read_plan(plan_document(plan)) == plan
    assert read_plan(json.loads(plan_text(plan))) == plan
    assert plan_text(plan) == json_line(plan_document(plan)), "part by part as in one"


@pytest.mark.slow
@given(worlds(), st.integers(0, 4_000_000_000_000), st.text())
def test_any_plan_comes_back_from_its_document(world: World, as_of: int, manifests: str) -> None:
    location = plan_location(world.desired, LocationState(HERE, observed=state_of(world.observed)), plan_options())
    plan = combine_plans([location], as_of=Instant(as_of), manifests=manifests)
    assert read_plan(json.loads(plan_text(plan))) == plan
    assert plan_text(plan) == json_line(plan_document(plan)), "part by part as in one"


def test_the_document_has_every_field_of_the_contract() -> None:
    document = plan_document(a_busy_plan())
    assert {"format_version", "digest", "change_digest", "as_of", "valid_until", "locations"} <= document.keys()
    location = document["locations"][0]
    assert {"location", "lineage", "serial", "summary", "deltas", "batches", "deferrals", "guards"} <= location.keys()
    counted = "contacts unobserved adds removes adopted reasserted deferred held quarantined requests lower_bound"
    assert {*counted.split(), "eta_seconds", "daily_quota_share"} <= location["summary"].keys()
    assert location["deltas"][0].keys() == {"changes", "contacts"}
    assert location["deltas"][0]["changes"][0].keys() == {"action", "tag", "reason", "sources"}
    assert location["batches"][0].keys() == {"action", "contacts", "tags", "after"}
    assert location["deferrals"][0].keys() == {"contacts", "tags", "reason"}
    assert {"guard", "tag", "limit", "measure", "refused"} <= location["guards"][0].keys()


def test_a_file_is_one_line_of_ascii() -> None:
    text = plan_text(small_plan())
    assert text.isascii()
    assert text.endswith("}\n")
    assert text.count("\n") == 1


def test_a_file_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("older")
    path.chmod(0o644)
    write_plan(a_busy_plan(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_plan(path) == a_busy_plan()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanFileError, match=r"nowhere/plan\.json cannot be written"):
        write_plan(a_busy_plan(), tmp_path / "nowhere" / "plan.json")


def test_a_plan_is_written_through_no_link_and_over_nothing_but_a_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("of somebody else")
    (tmp_path / "plan.json").symlink_to(kept)
    with pytest.raises(PlanFileError, match=r"plan\.json is a link to .*kept\.txt"):
        write_plan(a_busy_plan(), tmp_path / "plan.json")
    assert kept.read_text() == "of somebody else"
    with pytest.raises(PlanFileError, match="is there already, and is no file"):
        write_plan(a_busy_plan(), tmp_path)


def test_a_plan_that_was_spelt_anew_is_refused_though_its_values_are_the_same() -> None:
    content = json.dumps(json.loads(plan_text(small_plan())), indent=1).encode()
    with pytest.raises(PlanFileError, match="it was rewritten after it was saved"):
        parse_plan(content)


def test_a_plan_file_that_was_probably_meant_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").touch()
    assert "plan.json" in no_plan_file(tmp_path / "plam.json", "there is none").hint
    assert "plan --out" in no_plan_file(tmp_path / "nowhere" / "plan.json", "there is none").hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PlanFileError, match="cannot be read"):
            load_plan(path)


def refused(content: bytes) -> bool:
    try:
        parse_plan(content)
    except PlanFileError:
        return True
    return False


@pytest.mark.slow
def test_every_change_of_a_single_byte_is_refused() -> None:
    content = plan_text(small_plan()).encode()
    assert not refused(content)
    for place, byte in enumerate(content):
        for other in {byte ^ 1, byte ^ 0x20, ord(" "), ord("e")} - {byte}:
            assert refused(content[:place] + bytes([other]) + content[place + 1 :]), (place, chr(byte), chr(other))


@pytest.mark.slow
def test_every_byte_taken_away_or_put_in_is_refused() -> None:
    content = plan_text(small_plan()).encode()
    for place in range(len(content)):
        assert refused(content[:place]), "truncated"
        assert refused(content[:place] + content[place + 1 :])
        assert refused(content[:place] + b" " + content[place:])
    assert refused(content + content)


@pytest.mark.parametrize("content", [b"", b"\n", b"null", b"[]", b"{}", b"7", b'"plan"', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_plan_is_refused_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(PlanFileError, match=r"plan file .*/plan\.json: "):
        load_plan(path)


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    document = plan_document(a_busy_plan()) | {"format_version": "1.99", "new": [1]}
    document["locations"][0]["new"] = {"deep": True}
    document["locations"][0]["summary"]["new"] = 1
    assert read_plan(sealed(document)) == a_busy_plan()
    assert parse_plan(json.dumps(sealed(document), separators=(",", ":")).encode() + b"\n") == a_busy_plan()


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "", "one", "11"])
def test_another_major_version_is_refused_and_told(version: str) -> None:
    with pytest.raises(PlanFileError, match=f"reads {FORMAT_VERSION}"):
        read_plan(sealed(plan_document(a_busy_plan()) | {"format_version": version}))


@pytest.mark.parametrize("version", [None, 1, 1.0, ["1.0"]])
def test_a_version_that_is_no_text_is_no_plan(version: object) -> None:
    with pytest.raises(PlanFileError, match="no plan"):
        read_plan(sealed(plan_document(a_busy_plan()) | {"format_version": version}))


def test_changes_that_do_not_fit_their_change_digest_are_refused() -> None:
    document = plan_document(small_plan())
    document["locations"][0]["deltas"][0]["contacts"].append("bert")
    with pytest.raises(PlanFileError, match="change_digest"):
        read_plan(sealed(document))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), True, "0.5", None])
def test_a_share_that_is_no_finite_number_is_refused(odd: object) -> None:
    document = plan_document(small_plan())
    document["locations"][0]["summary"]["daily_quota_share"] = odd
    with pytest.raises(PlanFileError, match="is not a number"):
        read_plan(sealed(document))


@pytest.mark.parametrize(("times", "told"), [(0, "the plan has no location"), (2, "the plan has a location twice")])
def test_a_plan_is_of_locations_and_of_each_once(times: int, told: str) -> None:
    document = plan_document(small_plan())
    document["locations"] *= times
    with pytest.raises(PlanFileError, match=told):
        read_plan(sealed(document))


def of_another_contact(location: Any) -> None:
    location["batches"][0]["contacts"] = ["bert"]


def waiting_for_itself(location: Any) -> None:
    location["batches"][0]["after"] = [0]


def left_out(location: Any) -> None:
    del location["batches"][0]


def twice(location: Any) -> None:
    location["batches"].append(location["batches"][0])


@pytest.mark.parametrize("change", [of_another_contact, waiting_for_itself, left_out, twice])
def test_requests_that_are_not_the_changes_are_refused(change: Callable[[Any], None]) -> None:
    document = plan_document(small_plan())
    change(document["locations"][0])
    with pytest.raises(PlanFileError, match="batches do not send its changes and nothing else"):
        read_plan(sealed(document))


def test_pairs_that_are_sent_again_to_save_a_request_are_part_of_a_plan() -> None:
    half = {name: carries("x", ledger="x") for name in ("cara", "dora")}
    known = state(anna=carries(), bert=carries(), **half)
    options = plan_options(reassertion=Reassertion(Reassert.ALWAYS), now=NOW)
    desired = declare(a_set("s", "anna bert cara dora", "x y"))
    plan = combine_plans(
        [plan_location(desired, LocationState(HERE, "l", 1, known), options)], as_of=NOW, manifests="m"
    )
    assert plan.locations[0].reasserted
    assert read_plan(plan_document(plan)) == plan


def test_a_location_whose_digest_does_not_fit_is_refused_and_a_plan_of_an_older_version_has_none() -> None:
    document = plan_document(small_plan())
    stated = document["locations"][0].pop("change_digest")
    assert stated == document["change_digest"]
    (older,) = read_plan(sealed(document | {"format_version": "1.0"})).locations
    assert older.change_digest == stated
    document["locations"][0]["change_digest"] = "sha256:" + "0" * 64
    with pytest.raises(PlanFileError, match="change_digest"):
        read_plan(sealed(document))


def paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


PLACES = [path for path in paths(plan_document(a_busy_plan())) if path]
ODD: tuple[object, ...] = (
    None,
    True,
    -1,
    10**400,
    0.5,
    float("nan"),
    "text",
    "0001-01-01T00:00:00+23:59",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
)


@pytest.mark.slow
@given(st.sampled_from(PLACES), st.sampled_from(ODD) | st.just(...))
def test_a_field_that_is_missing_or_of_another_type_ends_in_no_traceback(path: tuple[Any, ...], value: object) -> None:
    """Sealed anew, as by somebody who knows how: it is a plan, or it is refused with a message."""
    document: Any = plan_document(a_busy_plan())
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    try:
        plan = read_plan(sealed(document))
    except PlanFileError:
        return
    assert read_plan(plan_document(plan)) == plan


@given(st.builds(Source, st.text(min_size=1), st.integers(1, 10**6), st.integers(1, 10**6)))
def test_a_place_comes_back_from_its_text_whatever_the_file_is_called(source: Source) -> None:
    assert Source.parse(str(source)) == source


FIRST, LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"


@example(parse_instant(FIRST))
@example(parse_instant(LAST))
@given(st.integers(parse_instant(FIRST), parse_instant(LAST)).map(Instant))
def test_an_instant_comes_back_from_its_text(moment: Instant) -> None:
    assert parse_instant(iso(moment)) == moment


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+01:00"]
)
def test_an_instant_that_could_not_be_written_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no such time in UTC"):
        parse_instant(text)
