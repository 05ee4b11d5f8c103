"""Where locations are chosen, only their manifests are read, and those whose `location` is not seen early."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput, UsageError
from reconciler.core.model.names import LocationId
from reconciler.loading import load
from reconciler.loading.manifest_files import HEAD, see_location
from reconciler.loading.nodes import Mapping, Scalar, parse_nodes

HERE, THERE = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("bsdrwHvLUxlfw5SqKVCN")
ROOT = Path(__file__).parents[2]
SETS = "contact_sets:\n  s: {contacts: [contact0000000000001], tags: [vip]}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"location: {HERE}\n{SETS}",
        f"\ufeff# ours\n\n---\nlocation: {HERE} # acme\n{SETS}",
        f"location: '{HERE}'\n",
        f'"location": "{HERE}"\r\ncontact_sets: {{}}\r\n',
        f"{SETS}authority: owned\nlocation: {HERE}\n",
        f"{{contact_sets: {{location: [location, x]}}, location: {HERE}}}",
        f"  location: {HERE}\n  contact_sets: {{}}\n",
        f"location: {HERE}\nlocation: {THERE}\n",
        f"location: {HERE}\ncontact_sets: [\n",
        f"location: {HERE}\n---\nlocation: {THERE}\n",
        f"location: {HERE}\nmore: {'x' * HEAD}\n",
    ],
)
def test_seen(text: str) -> None:
    assert see_location(text.encode()[:HEAD]) == HERE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        f"- location: {HERE}\n",
        f"{HERE}\n",
        f"location: &a {HERE}\n",
        f"location: !!str {HERE}\n",
        f"a: &x {HERE}\nlocation: *x\n",
        f"a: &x b\nlocation: {HERE}\n",
        f"%YAML 1.1\n---\nlocation: {HERE}\n",
        f"location: |\n  {HERE}\n",
        f"location: [{HERE}]\n",
        f"location: {HERE}\n  more\n",
        f"Location: {HERE}\n",
        f"contact_sets: {{s: {{location: {HERE}}}}}\n",
        "location: acme outdoor\n",
        "location:\n",
        f"<<: {{location: {HERE}}}\n",
        f"\tlocation: {HERE}\n",
        f"location: {HERE}\x07\n",
        "version https://git-lfs.github.com/spec/v1\n",
        f"{'# x' * HEAD}\nlocation: {HERE}\n",
    ],
)
def test_not_seen(text: str) -> None:
    assert see_location(text.encode()[:HEAD]) is None


def test_another_encoding_is_not_seen() -> None:
    assert see_location(f"location: {HERE}\n".encode("utf-16")) is None
    assert see_location(b"location: \xff\xfe\n") is None


def test_a_cut_goes_through_a_character_or_a_value() -> None:
    padded = "# " + "x" * (HEAD - len(f"location: {HERE}\n") - 3) + "\n" + f"location: {HERE}\n"
    assert len(padded) == HEAD
    # what follows may belong to the value
    assert see_location(padded.encode()) is None
    for shift in ("", "x"):
        assert see_location(f"location: {HERE}\n# {shift}{'ü' * HEAD}".encode()[:HEAD]) == HERE


@pytest.mark.slow
def test_what_is_seen_is_what_a_whole_reading_finds() -> None:
    seen = 0
    for path in sorted((ROOT / "tests").rglob("*.yaml")):
        try:
            text = path.read_bytes().decode().removeprefix("\ufeff")
            root = parse_nodes(text, "x").root
        except (UnicodeDecodeError, InvalidInput):
            continue
        if early := see_location(path.read_bytes()[:HEAD]):
            seen += 1
            location = root.get("location") if isinstance(root, Mapping) else None
            assert root is None or (isinstance(location, Scalar) and location.text == early), path
    assert seen > 100


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(f"location: {HERE}\n{SETS}")
    (tmp_path / "b.yaml").write_text(f"location: {HERE}\n{SETS.replace('  s:', '  t:')}")
    (tmp_path / "c.yaml").write_text(f"location: {THERE}\n{SETS}")
    return tmp_path


def problems(place: Path, *locations: str) -> str:
    with pytest.raises(InvalidInput) as raised:
        load(place, locations=locations)
    return str(raised.value)


def test_the_manifests_of_chosen_locations_are_those_of_a_whole_reading(place: Path) -> None:
    whole = load(place).manifests
    chosen = load(place, locations=[HERE])
    assert chosen.manifests == tuple(each for each in whole if each.location == HERE)
    assert chosen.elsewhere == {THERE}
    assert load(place, locations=[HERE, THERE]).manifests == whole
    assert load(place, locations=["nowhere"]).elsewhere == {HERE, THERE}


def test_faults_of_other_locations_are_not_told_but_those_of_names_are(place: Path) -> None:
    faults = f"location: {HERE}\ncontact_sets: {{s: {{contacts: {{file: no.csv}}}}\n"
    (place / "c.yaml").write_text(f"location: {THERE}\n{faults}")
    (place / "sub").mkdir()
    assert {each.location for each in load(place, locations=[HERE]).manifests} == {HERE}
    assert "c.yaml" in problems(place)
    (place / "sub" / "reconciler.yaml").write_text("guards: {}\n")
    (place / "bell\x07.yaml").write_text(f"location: {THERE}\n{SETS}")
    (place / "gone.yaml").symlink_to(place / "nothing.yaml")
    told = problems(place, HERE)
    assert all(text in told for text in ("settings that nobody reads", "cannot be shown", "gone.yaml"))


def test_a_manifest_whose_location_is_not_seen_is_read_and_its_faults_are_told(place: Path) -> None:
    (place / "c.yaml").write_text(f"location: &x {THERE}\n{SETS}")
    assert "an anchor" in problems(place, HERE)
    (place / "c.yaml").write_text("")
    assert "the file is empty" in problems(place, HERE)
    (place / "c.yaml").write_text(f"location: acme outdoor\n{SETS}")
    assert "expected a location id" in problems(place, HERE)


def test_sets_of_one_location_clash_across_its_files(place: Path) -> None:
    (place / "b.yaml").write_text(f"location: {HERE}\n{SETS}")
    assert "already defined at" in problems(place, HERE)
    load(place, locations=[THERE])


def test_settings_of_locations_that_are_left_out_are_used(place: Path) -> None:
    rule = "tags: {elsewhere: {inert: true}}\n"
    (place / "reconciler.yaml").write_text(f"locations: {{{THERE}: {{name: Acme}}}}\n{rule}")
    (place / "b.yaml").unlink()
    assert load(place, locations=[HERE]).problems == ()
    assert [each.check for each in load(place).problems] == ["rule-unused"]
    assert [each.location for each in load(place, locations=["acme"]).manifests] == [THERE]
    (place / "reconciler.yaml").write_text(f"locations: {{{THERE}: {{name: Acme}}, {HERE}: {{name: acme}}}}\n")
    with pytest.raises(UsageError, match="2 locations are called"):
        load(place, locations=["acme"])
