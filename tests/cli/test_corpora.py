"""Files that nobody here wrote, from the command line to the contacts and back: `pytest --corpora=DIR`.

tests/fuzz/test_corpora.py gives them to the readers; here a person types commands, and looks at what they print.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.model.errors import ExitCode, InvalidInput
from reconciler.loading import FileTree, load
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, Ended, contact_id

UNPRINTABLE = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def check_told(ended: Ended) -> None:
    """It says what is wrong in whole lines that change no terminal, and shows no code of ours."""
    assert ended.code in {ExitCode.DONE, ExitCode.ERROR, ExitCode.USAGE}, ended
    assert "Traceback" not in ended.out + ended.err
    assert "this is a bug of reconciler" not in ended.err
    assert not UNPRINTABLE.search(ended.out + ended.err), ended


def listing(word: str, tags: str = "[x]") -> str:
    return f"location: {LOCATION}\ncontact_sets: {{a: {{contacts: {word}, tags: {tags}}}}}\n"


def accepted_tags(corpora: Path) -> dict[str, str]:
    """The texts that may be tags, each by the tag that it is: the first of those which are the same tag."""
    groups = json.loads((corpora / "hostile-tags.json").read_text(encoding="utf-8"))
    tags: dict[str, str] = {}
    for text in sorted({text for group in groups.values() for text in group}):
        manifest = listing(f"[{contact_id(2)}]", f"[{json.dumps(text, ensure_ascii=False)}]")
        try:
            loaded = load(FileTree({"m.yaml": manifest.encode("utf-8", "surrogatepass")}))
        except InvalidInput:
            continue
        tags.setdefault(loaded.manifests[0].sets[0].tags[0].tag, text)
    return tags


def test_hostile_tags_reach_the_contacts_and_every_document_as_they_are(
    corpora: Path, project: Path, reconciler: Command, world: World
) -> None:
    """Two thousand tags, among them markup, escape sequences and formulas: planned, approved, applied, read again."""
    tags = accepted_tags(corpora)
    assert len(tags) > 2_000
    written = json.dumps(list(tags.values()), ensure_ascii=False)
    (project / "manifests" / "acme.yaml").write_text(listing(f"[{contact_id(2)}, {contact_id(3)}]", written))

    planned = reconciler("plan", "--create-state", "--format", "json")
    assert planned.code == ExitCode.DONE, planned.err[-500:]
    (location,) = json.loads(planned.out)["locations"]
    named = {change["tag"] for delta in location["deltas"] for change in delta["changes"]}
    assert named == set(tags)
    applied = reconciler("apply", "--auto-approve", "--create-state")
    assert applied.code == ExitCode.DONE, applied.err[-500:]

    for number in (2, 3):
        assert world.contacts[contact_id(number)].tags == set(tags)
    assert reconciler("plan").code == ExitCode.DONE
    for command in ("drift", "history", "export", "state show"):
        ended = reconciler(*command.split())
        check_told(ended)
        assert ended.code == ExitCode.DONE, ended.err[-500:]


def manifests(corpora: Path) -> Iterator[tuple[str, bytes]]:
    for case in json.loads((corpora / "yaml-test-suite.json").read_text(encoding="utf-8")):
        yield case["id"], base64.b64decode(case["yaml_base64"])
    for case in json.loads((corpora / "json-test-suite.json").read_text(encoding="utf-8")):
        yield case["name"], base64.b64decode(case["base64"])


def test_no_foreign_file_is_a_manifest_and_each_is_told_by_its_place(
    corpora: Path, project: Path, reconciler: Command
) -> None:
    path = project / "manifests" / "acme.yaml"
    for name, content in manifests(corpora):
        path.write_bytes(content)
        ended = reconciler("validate")
        check_told(ended)
        # an empty file or document is a manifest that is not there
        assert ended.code == ExitCode.ERROR, name
        assert "manifests" in ended.out + ended.err, name


def test_no_traversal_path_opens_a_file_outside(corpora: Path, project: Path, reconciler: Command) -> None:
    """Five hundred sets at a time name the password file of the machine by such paths; none of its words is told."""
    written = json.loads((corpora / "traversal-paths.json").read_text(encoding="utf-8"))
    secret = Path("/etc/passwd").read_text(encoding="utf-8").partition("\n")[0]
    for first in range(0, len(written), 500):
        sets = "".join(
            f"  s{nth}: {{contacts: {{file: {json.dumps(path.replace('{FILE}', 'etc/passwd'))}}}, tags: [x]}}\n"
            for nth, path in enumerate(written[first : first + 500])
        )
        (project / "manifests" / "acme.yaml").write_text(f"location: {LOCATION}\ncontact_sets:\n{sets}")
        ended = reconciler("validate")
        check_told(ended)
        assert ended.code == ExitCode.ERROR
        assert secret not in ended.out + ended.err


def test_hostile_addresses_as_settings_are_shown_or_refused_and_never_asked(
    corpora: Path, project: Path, reconciler: Command, manifest: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(a=(range(2), ["x"], []))
    shown = 0
    for entry in json.loads((corpora / "urls.json").read_text(encoding="utf-8")):
        url = str(entry["input"] if isinstance(entry, dict) else entry)
        if "\0" in url or not url.isprintable():
            # no environment holds it
            continue
        monkeypatch.setenv("RECONCILER_API_BASE_URL", url)
        ended = reconciler("validate", "--show-settings")
        check_told(ended)
        shown += ended.code == ExitCode.DONE
    assert shown


def test_foreign_tables_are_read_as_their_rows_or_refused_by_their_place(
    corpora: Path, project: Path, reconciler: Command
) -> None:
    """Each column of each as the one with the ids: what is planned is what the corpus says that it holds."""
    planned = 0
    for case in json.loads((corpora / "csv-spectrum.json").read_text(encoding="utf-8")):
        (project / "manifests" / "people.csv").write_bytes(base64.b64decode(case["csv_base64"]))
        for column in case["rows"][0]:
            (project / "manifests" / "acme.yaml").write_text(listing(f"{{file: people.csv, column: {column}}}"))
            ended = reconciler("plan", "--create-state", "--format", "json")
            check_told(ended)
            written = {row[column] for row in case["rows"]}
            if not all(text.isprintable() and text for text in written):
                assert (ended.code, "manifests/people.csv:" in ended.err) == (ExitCode.ERROR, True), case["name"]
                continue
            (location,) = json.loads(ended.out)["locations"]
            assert {contact for delta in location["deltas"] for contact in delta["contacts"]} == written, case["name"]
            planned += 1
    assert planned == 25
