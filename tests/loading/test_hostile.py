"""Invariant 14: untrusted input is accepted or refused with a place, and within bounds of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import Instant, normalise_tag
from reconciler.loading import FileTree, Loaded
from reconciler.loading import load as load_files

A, B = "qFSqySFkVvNzOSqgGqFi", "3ualbhnV7j3n3a9r2moD"
LOCATION = "location: asdrwHvLUxlfw5SqKVCN\n"
MANIFEST = f"""\
{LOCATION}authority: owned
tags: {{vip: {{group: rank, max_adds: 2, renamed_from: top}}, gold: {{group: rank, once: true}}}}
contact_sets:
  vip:
    contacts: [{A}, {B}]
    tags: [vip, 'no']
    absent: [trial]
    from: 2026-03-29
    until: 2026-12-31T18:00:00+01:00
  file:
    contacts: {{file: c/c.csv, column: id, where: {{plan: gold}}}}
    tags: [customer]
    ignore: ["wf-*"]
  both:
    contacts: {{sets: [vip], except: [file], only: [vip, file]}}
    tags: [x]
    authority: exact
    allow_empty: true
"""
SETTINGS = """\
timezone: Europe/Berlin
api: {base_url: "http://127.0.0.1:1", max_tags: 5}
guards: {max_removes_pct: 12.5}
locations: {asdrwHvLUxlfw5SqKVCN: {name: Acme, token_env: TOKEN}}
allow: [{guard: empties_tag, tag: vip, reason: r, until: 2026-12-31}]
expected_drift: [{tag: wf-*, classes: [missing]}]
"""
TABLE = f"id,plan\n{A},gold\n{B},silver\n"
WORDS = [
    "location",
    "contacts",
    "file",
    "sets",
    "tags",
    "[",
    "]",
    "{",
    "}",
    ":",
    "-",
    "#",
    "null",
    "&a",
    "*a",
    "!x",
    "\n",
    "\t",
]
NOISE = st.one_of(st.binary(max_size=4), st.sampled_from([word.encode() for word in WORDS]), st.text(max_size=3).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip

# The bounds hold on two unhurried cores; a shared machine gets this much more time.
PATIENCE = 8


def load(
    manifest: bytes = MANIFEST.encode(), settings: bytes = SETTINGS.encode(), table: bytes = TABLE.encode()
) -> Loaded:
    files = {"m.yaml": manifest, "reconciler.yaml": settings, "c/c.csv": table}
    return load_files(FileTree(files), now=Instant(1_780_000_000_000))


def test_the_seed_of_the_mutations_is_valid() -> None:
    assert load().problems == ()


@pytest.mark.slow
@settings(max_examples=3 * settings().max_examples)
@given(data=st.data(), which=st.sampled_from(["manifest", "settings", "table"]))
def test_damaged_files_give_no_other_exception(data: st.DataObject, which: str) -> None:
    whole = {"manifest": MANIFEST, "settings": SETTINGS, "table": TABLE}[which].encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 12)))
        whole = whole[:start] + data.draw(NOISE) + whole[end:]
    with suppress(InvalidInput):
        load(**{which: whole})


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def test_hostile_strings_as_tags_stay_what_they_are_or_are_refused(corpora: Path) -> None:
    groups = json.loads((corpora / "hostile-tags.json").read_text())
    accepted = 0
    for text in sorted({text for group in groups.values() for text in group}):
        manifest = f"{LOCATION}contact_sets: {{a: {{contacts: [{A}], tags: [{quoted(text)}]}}}}\n"
        with suppress(InvalidInput):
            tags = load(manifest.encode("utf-8", "surrogatepass"), b"").manifests[0].sets[0].tags
            assert [(use.tag, use.written) for use in tags] == [(normalise_tag(text), text)]
            accepted += 1
    assert accepted > 2000


def test_hostile_strings_in_every_other_place(corpora: Path) -> None:
    for text in json.loads((corpora / "naughty-strings.json").read_text()):
        word = quoted(text)
        for manifest in (
            f"{LOCATION}contact_sets: {{{word}: {{contacts: [{word}], tags: [x], ignore: [{word}], from: {word}}}}}\n",
            f"location: {word}\n{word}: {word}\ncontact_sets: {{a: {{contacts: {{sets: [{word}]}}, {word}: x}}}}\n",
            f"{LOCATION}tags: {{{word}: {{group: {word}, max_adds: {word}}}}}\n",
            f"{LOCATION}contact_sets: {{a: {{contacts: {{file: {word}, where: {{{word}: {word}}}}}}}}}\n",
        ):
            with suppress(InvalidInput):
                load(manifest.encode("utf-8", "surrogatepass"))


MEASURE = """
import resource, sys, time
from pathlib import Path
from reconciler.core.model.errors import InvalidInput
from reconciler.loading import load
started = time.process_time()
try:
    load(sys.argv[1])
    told = "accepted"
except InvalidInput as error:
    told = str(error.problems[0])
seconds = time.process_time() - started
try:
    # what the kernel counts for a child starts at its parent's size, so ask for this image's own peak
    kibibytes = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
except OSError:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, kibibytes // 1024, told.splitlines()[0])
"""


def measured(directory: Path, manifest: str) -> tuple[float, int, str]:
    """Seconds of work, MiB at most, and the first problem, in a process of its own."""
    (directory / "m.yaml").write_text(manifest, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(directory)], capture_output=True, text=True, check=True, timeout=120
    )
    seconds, mebibytes, told = done.stdout.strip().split(" ", 2)
    return float(seconds), int(mebibytes), told


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": lambda: (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(c)}: &{chr(c)} [{','.join([f'*{chr(c - 1)}'] * 9)}]\n" for c in range(ord("b"), ord("z")))
    ),
    "nesting": lambda: "[" * 5_000_000,
    "mapping": lambda: "{a: " * 2_000_000,
    "flow": lambda: f"a: [{'x,' * 7_900_000}]",
    "indentation": lambda: "".join(" " * depth + "a:\n" for depth in range(5_000)),
    "anchors": lambda: "".join(f"- &a{number} x\n" for number in range(290_000)),
    "comments": lambda: "a: 'x'" + " #" * 7_900_000,
}


@pytest.mark.one_in(8)
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_two_seconds_and_256_mib(name: str, tmp_path: Path) -> None:
    seconds, mebibytes, told = measured(tmp_path, BOMBS[name]())
    assert told != "accepted"
    assert mebibytes < 256
    assert seconds < 2 * PATIENCE


def many_sets(count: int, one: str) -> str:
    return f"{LOCATION}contact_sets:\n" + "".join(one.replace("#", str(number)) for number in range(count))


AT_THE_LIMIT: dict[str, Callable[[], str]] = {
    "ids": lambda: (
        f"{LOCATION}contact_sets:\n  a:\n    contacts:\n"
        + "".join(f"      - qFSqySFkVvNzO{number:07d}\n" for number in range(299_990))
        + "    tags: [x]\n"
    ),
    "sets": lambda: many_sets(49_000, f"  s#:\n    contacts: [{A}]\n    tags: [t#]\n"),
    "one group": lambda: (
        f"{LOCATION}tags:\n"
        + "".join(f"  t{number}: {{group: g}}\n" for number in range(28_000))
        + many_sets(28_000, f"  s#:\n    contacts: [{A}]\n    tags: [t#]\n").removeprefix(LOCATION)
    ),
    "unknown sets": lambda: many_sets(40_000, "  s#:\n    contacts: {sets: [z#]}\n"),
    "keys": lambda: "".join(f"k{number}: x\n" for number in range(199_000)),
    "unknown keys": lambda: many_sets(49_000, "  s#: {kontacts: x}\n"),
    "cycle": lambda: many_sets(20_000, "  s#: {contacts: {sets: [t#]}}\n  t#: {contacts: {sets: [s#]}}\n"),
    "filters": lambda: many_sets(40_000, "  s#: {contacts: {filter: {tags: {contains: a#}}}, tags: [t#]}\n"),
    "filters of many": lambda: (
        many_sets(1, "  s#: {contacts: {filter: {not: {tags: {eq: x}}}}, tags: [y]}\n")
        + "".join(f"  s{number}: {{contacts: {{sets: [s{number - 1}]}}, tags: [x]}}\n" for number in range(1, 49_000))
    ),
    "missing files": lambda: many_sets(40_000, "  s#: {contacts: {file: c#.csv}}\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_a_manifest_at_its_size_limit_takes_five_seconds_and_512_mib(name: str, tmp_path: Path) -> None:
    seconds, mebibytes, _ = measured(tmp_path, AT_THE_LIMIT[name]())
    assert mebibytes < 512
    assert seconds < 5 * PATIENCE


@pytest.mark.slow
def test_a_million_rows_in_seconds(tmp_path: Path) -> None:
    with (tmp_path / "c.csv").open("w") as table:
        table.write("contact_id,plan,name\n")
        table.writelines(f"qFSqySFkVvNzO{number:07d},gold,Name {number}\n" for number in range(1_000_000))
    seconds, mebibytes, told = measured(tmp_path, many_sets(1, "  a: {contacts: {file: c.csv}, tags: [x]}\n"))
    assert told == "accepted"
    assert mebibytes < 256
    assert seconds < 4 * PATIENCE
