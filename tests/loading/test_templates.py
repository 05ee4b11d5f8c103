"""One manifest for many locations: law that each has it as if it were written out, and what their list may be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.manifest import ListedContacts, Manifest
from reconciler.core.model.names import Instant, LocationId, Source
from reconciler.loading import FileTree, load
from reconciler.loading.manifest_files import read_manifest_files
from reconciler.loading.templates import ClientLocation, fill_words

IDS = [f"{letter}sdrwHvLUxlfw5SqKVCN" for letter in "abcdefgh"]
NAMES = ["acme", "beta", "gamma", "delta", "eps ilon", "zéta", "eta-7", "theta"]
CITIES = ["Wien", "Graz"]

SETS = """\
contact_sets:
  own:
    contacts: {file: "lists/NAME.csv"}
    tags: [own]
  one city:
    contacts: {file: lists/all.csv, where: {city: "CITY", of: "LOCATION"}}
    tags: [city]
    allow_empty: true
  same:
    contacts: [qFSqySFkVvNzOSqgGqFi]
    tags: [same]
  both:
    contacts: {sets: [own, one city], except: [same]}
    tags: [both]
    allow_empty: true
  asked:
    contacts: {source: rows, column: id, where: {city: "CITY"}}
    tags: [asked]
"""
SOURCES = b"sources: {rows: {command: [print-rows, '--location={location}', '{id}']}}\n"


def contact(number: int) -> str:
    return f"contact{number:013d}"


def desired(manifests: tuple[Manifest, ...], location: str) -> Desired:
    """What is desired there, without the place of anything: an expansion has other places."""
    of_it = [replace(manifest, rollout=None) for manifest in manifests if manifest.location == location]
    return resolve(of_it, now=Instant(0))


def wishes(desired: Desired) -> dict[str, list[str]]:
    return {contact: sorted(desired.want(contact).present) for contact in desired.contacts}


def commands(manifests: tuple[Manifest, ...], location: str) -> list[tuple[str, ...]]:
    """What the sources of a location's sets are asked by."""
    sets = (entry for manifest in manifests if manifest.location == location for entry in manifest.sets)
    matches = (entry.contacts.match for entry in sets if isinstance(entry.contacts, ListedContacts))
    return [match.query.command for match in matches if match is not None and match.query is not None]


@pytest.mark.slow
@given(
    rows=st.lists(st.sampled_from(range(len(IDS))), unique=True, min_size=1, max_size=6),
    members=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(CITIES), st.sampled_from(IDS)), max_size=12),
    cities=st.lists(st.sampled_from(CITIES), min_size=len(IDS), max_size=len(IDS)),
    as_json=st.booleans(),
)
def test_a_template_equals_its_expansion_written_out(
    rows: list[int], members: list[tuple[int, str, str]], cities: list[str], *, as_json: bool
) -> None:
    everybody = {contact(number): (city, where) for number, city, where in members}
    shared = "contact_id,city,of\n" + "".join(f"{who},{city},{of}\n" for who, (city, of) in everybody.items())
    lists = {f"lists/{NAMES[row]}.csv": f"contact_id\n{contact(row)}\n".encode() for row in rows}
    lists |= {"lists/all.csv": shared.encode(), "reconciler.yaml": SOURCES}
    table = [{"location_id": IDS[row], "name": NAMES[row], "city": cities[row]} for row in rows]
    if as_json:
        clients = {"clients.jsonl": "".join(json.dumps(row) + "\n" for row in table)}
    else:
        lines = (",".join(row.values()) for row in table)
        clients = {"clients.csv": "location_id,name,city\n" + "".join(f"{line}\n" for line in lines)}
    filled = SETS.replace("NAME", "{client.name}").replace("CITY", "{client.city}").replace("LOCATION", "{location}")
    (listed,) = clients
    template = {"many.yaml": f"locations: {{file: {listed}}}\n{filled}", **clients}
    expansion = {
        f"{number}.yaml": f"location: {IDS[row]}\n"
        + SETS.replace("NAME", NAMES[row]).replace("CITY", cities[row]).replace("LOCATION", IDS[row])
        for number, row in enumerate(rows)
    }
    short = load(FileTree({**lists, **{name: text.encode() for name, text in template.items()}}))
    long = load(FileTree({**lists, **{name: text.encode() for name, text in expansion.items()}}))
    assert {each.location for each in short.manifests} == {IDS[row] for row in rows}
    for row in rows:
        first, second = desired(short.manifests, IDS[row]), desired(long.manifests, IDS[row])
        assert (first.digest, wishes(first)) == (second.digest, wishes(second))
        asked = ("print-rows", f"--location={IDS[row]}", "{id}")
        assert commands(short.manifests, IDS[row]) == commands(long.manifests, IDS[row]) == [asked]
    assert {problem.check for problem in short.problems} == {problem.check for problem in long.problems}


def tree(manifest: str, **more: str) -> FileTree:
    return FileTree(
        {"many.yaml": manifest.encode(), **{name.replace("_", "."): text.encode() for name, text in more.items()}}
    )


LISTED = f"locations: [{', '.join(IDS)}]\n"
NO_SETS = "contact_sets: {}\n"


def test_a_chosen_location_leaves_the_others_out() -> None:
    loaded = load(tree(LISTED + NO_SETS), locations=[IDS[2]])
    assert [each.location for each in loaded.manifests] == [IDS[2]]
    assert loaded.elsewhere == {*IDS} - {IDS[2]}


def test_what_each_location_reads_is_told_for_itself() -> None:
    manifest = 'locations: {file: clients.csv}\ncontact_sets: {a: {contacts: {file: "{client.name}.txt"}, tags: [x]}}\n'
    files = tree(manifest, clients_csv=f"location_id,name\n{IDS[0]},acme\n{IDS[1]},beta\n")
    told = {each.location: each.reads for each in read_manifest_files(files, whole=True)}
    assert told == {IDS[0]: ("clients.csv", "acme.txt"), IDS[1]: ("clients.csv", "beta.txt")}


@pytest.mark.parametrize(
    ("then", "sizes"), [("1", [2, 1, 1, 1, 1, 1, 1]), ("25%", [2, 2, 2, 2]), ("100%", [2, 6]), ("1%", [2] + [1] * 6)]
)
def test_every_location_is_in_one_wave_whatever_the_order_of_the_list(then: str, sizes: list[int]) -> None:
    rollout = f"rollout: {{first: [{IDS[3]}, {IDS[1]}], then: {then}, soak: 2h}}\n"
    loaded = load(tree(LISTED + rollout + NO_SETS))
    turned = load(tree(f"locations: [{', '.join(reversed(IDS))}]\n" + rollout + NO_SETS))
    (waves,) = {each.rollout.waves for each in (*loaded.manifests, *turned.manifests) if each.rollout}
    assert [len(wave) for wave in waves] == sizes
    assert sorted(location for wave in waves for location in wave) == sorted(IDS)
    assert waves[0] == tuple(sorted((LocationId(IDS[1]), LocationId(IDS[3]))))
    assert {each.rollout.soak_ms for each in loaded.manifests if each.rollout} == {7_200_000}


@pytest.mark.slow
def test_a_manifest_of_too_many_locations_is_refused_with_the_limit() -> None:
    rows = "".join(f"loc{number}\n" for number in range(50_001))
    with pytest.raises(Exception, match="50,001 locations; the limit is 50,000"):
        load(tree("locations: {file: c.csv}\n" + NO_SETS, c_csv="location_id\n" + rows))


def test_the_place_of_a_location_is_that_of_the_list() -> None:
    (first, *_) = load(tree(LISTED + NO_SETS)).manifests
    assert first.source == Source("many.yaml", 1, 1)


@pytest.mark.parametrize("value", ["$(touch x)", "a' or 1=1 --", "--file=x", "a;b", "a | b", 'a"b', "a\\b", "a -rf"])
def test_a_value_that_a_shell_or_sql_would_take_for_its_own_stands_in_no_command(value: str) -> None:
    """Whoever writes the list of locations does not decide what is run."""
    client = ClientLocation(LocationId(IDS[0]), Source("clients.csv", 2), {"name": value})
    with pytest.raises(InvalidInput, match="in a command stand letters"):
        fill_words(("psql", "-c", "select '{client.name}'"), client, Source("many.yaml", 3))


def test_plain_values_stand_in_a_command_and_none_chooses_the_program() -> None:
    client = ClientLocation(LocationId(IDS[0]), Source("clients.csv", 2), {"name": "Zéta Bau 7"})
    place = Source("many.yaml", 3)
    assert fill_words(("psql", "-v", "who={client.name}", "{location}"), client, place)[2:] == (
        "who=Zéta Bau 7",
        IDS[0],
    )
    with pytest.raises(InvalidInput, match="which program"):
        fill_words(("{client.name}", "x"), client, place)
