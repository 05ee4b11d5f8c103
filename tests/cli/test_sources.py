"""`reconciler pull` of sets from sources, as a user runs it: what is run and how often, with which surroundings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how_much
from hypothesis import strategies as st

from tests.cli.conftest import LOCATION, Command, contact_id
from tests.extras import need

OTHER = "bsdrwHvLUxlfw5SqKVCN"
Declare = Callable[..., None]


@pytest.fixture
def declare(project: Path) -> Declare:
    """Writes the settings with the source `vips`, which is a script of Python, and manifests with a set of it."""

    def write(script: str, *, contacts: str = "{source: vips}", more: str = "", locations: str = "") -> None:
        words = [sys.executable, "vips.py", *more.split()]
        manifests = project / "manifests"
        (manifests / "vips.py").write_text(script)
        (manifests / "reconciler.yaml").write_text(
            f"locations: {{{OTHER}: {{token_env: OTHER_TOKEN}}}}\nsources: {{vips: {{command: {json.dumps(words)}}}}}\n"
        )
        sets = f"contact_sets:\n  vip: {{contacts: {contacts}, tags: [vip]}}\n"
        (manifests / "acme.yaml").write_text((locations or f"location: {LOCATION}\n") + sets)

    return write


def prints(numbers: list[int] | range) -> str:
    return f"print('contact_id', *{[contact_id(number) for number in numbers]}, sep='\\n')\n"


def test_a_set_is_pulled_and_planned(reconciler: Command, declare: Declare) -> None:
    declare(prints(range(12)))
    before = reconciler("plan")
    assert before.code == 1
    assert "which contacts its source names is not known" in before.err
    pulled = reconciler("pull", "--format", "json")
    assert pulled.code == 0, pulled.err
    assert "source vips is asked" in pulled.err
    (vip,) = json.loads(pulled.out)["locations"][0]["sets"]
    assert (vip["file"], vip["size"], len(vip["joined"])) == ("source vips", 12, 12)
    planned = json.loads(reconciler("plan", "--format", "json").out)
    assert planned["locations"][0]["summary"]["adds"] == 12


@pytest.mark.slow
def test_ids_need_no_token(reconciler: Command, declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(prints(range(3)))
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    assert reconciler("pull").code == 0


def test_no_secret_of_ours_is_in_its_environment_or_in_what_is_told(
    reconciler: Command, declare: Declare, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTHER_TOKEN", "RECONCILER_KEY", "HIGHLEVEL_TOKEN"):
        monkeypatch.setenv(name, f"pit-secret-of-{name}")
    url = "postgresql://me:pit-secret-%2F@db.example.com/state"
    monkeypatch.setenv("RECONCILER_STATE_READONLY", url)
    monkeypatch.setenv("RECONCILER_STATE", f"sqlite:///{project}/state.db")
    monkeypatch.setenv("PGPASSWORD", "of the warehouse")
    look = (
        "import os, sys\nprint([name for name in sys.argv[1:] if name in os.environ], '\\033[31m', "
        f"'pit-secret-of-OTHER_TOKEN', {url!r}, 'pit-secret-/', file=sys.stderr)\n"
    )
    names = "PGPASSWORD OTHER_TOKEN RECONCILER_KEY HIGHLEVEL_TOKEN RECONCILER_STATE RECONCILER_STATE_READONLY"
    declare(look + "sys.exit(1)", more=names)
    ended = reconciler("pull", "--format", "json")
    assert ended.code == 1
    assert "['PGPASSWORD'] " in ended.err
    assert "\\u{1b}[31m ***" in ended.err, ended.err
    assert "\033" not in ended.err
    assert "pit-secret" not in ended.out + ended.err


LEAKS = (
    "import os, sys\n"
    "print('password', os.environ['PGPASSWORD'], 'of row ann@example.com, +44 20 7946 0001', file=sys.stderr)\n"
    "sys.exit(3)\n"
)
WHERE = "its error lines are in the log of the command (stderr)"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "markdown", "html", "json", "csv"])
def test_its_errors_are_masked_on_stderr_and_in_no_report(
    form: str, reconciler: Command, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As contract 3.17 has it; what is published is the report."""
    monkeypatch.setenv("PGPASSWORD", "of-the-warehouse")
    declare(LEAKS)
    ended = reconciler("pull", "--format", form, "--quiet")
    assert ended.code == 1
    assert "source vips failed; the end of its errors:\n  password (PGPASSWORD) of row (not shown), (not shown)\n" in (
        ended.err
    )
    for told in (ended.out, ended.err):
        assert not [leak for leak in ("of-the-warehouse", "ann@", "7946") if leak in told], told
    assert "password" not in ended.out
    assert form == "csv" or WHERE in ended.out, ended.out


COUNT = (
    "import pathlib\nruns = pathlib.Path('runs')\nruns.write_text((runs.read_text() if runs.exists() else '') + 'x')\n"
)


@pytest.mark.slow
def test_it_runs_once_for_all_sets_and_locations(reconciler: Command, declare: Declare, project: Path) -> None:
    """As contract 3.17 has it."""
    declare(COUNT + prints(range(3)), locations=f"locations: [{LOCATION}, {OTHER}]\n")
    with (project / "manifests" / "acme.yaml").open("a") as manifest:
        manifest.write("  second: {contacts: {source: vips}, tags: [second]}\n")
    assert reconciler("pull").code == 0
    assert (project / "manifests" / "runs").read_text() == "x"


def test_with_a_placeholder_it_runs_once_a_location(reconciler: Command, declare: Declare, project: Path) -> None:
    script = "import sys\nids = {'--of=%s': %r, '--of=%s': %r}\nprint('contact_id', ids[sys.argv[1]], sep='\\n')\n"
    told = script % (LOCATION, contact_id(1), OTHER, contact_id(2))
    declare(COUNT + told, more="--of={location}", locations=f"locations: [{LOCATION}, {OTHER}]\n")
    ended = reconciler("pull", "--format", "json")
    assert ended.code == 0, ended.err
    found = {each["location"]: each["sets"][0]["joined"] for each in json.loads(ended.out)["locations"]}
    assert found == {LOCATION: [contact_id(1)], OTHER: [contact_id(2)]}
    assert (project / "manifests" / "runs").read_text() == "xx"


def test_a_placeholder_of_no_column_is_an_error_with_its_place(reconciler: Command, declare: Declare) -> None:
    declare(prints(range(3)), more="--plan={client.plan} {not one}")
    ended = reconciler("validate")
    assert ended.code == 1
    assert "manifests/acme.yaml:3:28: nothing is known by '{client.plan}'" in ended.out


@pytest.mark.parametrize("line", ["validate", "plan", "drift", "diff --base HEAD"])
def test_nothing_else_runs_it(line: str, reconciler: Command, declare: Declare, project: Path) -> None:
    declare(COUNT + prints(range(3)))
    reconciler(*line.split())
    assert not (project / "manifests" / "runs").exists()


def test_a_set_that_is_not_chosen_asks_nothing(reconciler: Command, declare: Declare, project: Path) -> None:
    declare(COUNT + prints(range(3)))
    with (project / "manifests" / "acme.yaml").open("a") as manifest:
        manifest.write(
            "  second: {contacts: {file: people.csv, match: {email: mail}}, tags: [second], allow_empty: true}\n"
        )
    (project / "manifests" / "people.csv").write_text("mail\n")
    assert reconciler("pull", "--set", "second").code == 0
    assert not (project / "manifests" / "runs").exists()


@pytest.mark.slow
def test_what_is_asked_otherwise_is_outdated(reconciler: Command, declare: Declare) -> None:
    declare(prints(range(3)))
    assert reconciler("pull").code == 0
    assert "has changed since" not in reconciler("plan").err
    declare(prints(range(3)), more="--all")
    assert "its source, or how its rows are read, has changed since" in reconciler("plan").err


def test_rows_aside_are_not_for_ids(reconciler: Command, declare: Declare) -> None:
    declare(prints(range(3)))
    ended = reconciler("pull", "--unmatched", "left.csv")
    assert ended.code == 64
    assert "--unmatched takes rows that are matched, and this set has none" in ended.err


@pytest.mark.slow
@how_much(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=20), chance=st.randoms())
def test_pulling_twice_changes_nothing(
    numbers: list[int], chance: object, reconciler: Command, declare: Declare, project: Path
) -> None:
    """In whatever order the rows come, and however often one is repeated: contract 3.15."""
    more = list(numbers)
    chance.shuffle(more)  # type: ignore[attr-defined]
    lift = ("--allow", "grow_pct:set=vip", "--allow", "shrink_pct:set=vip", "--reason", "a test")
    declare(prints(numbers))
    assert reconciler("pull", *lift).code == 0
    declare(prints(more + numbers[:3]))
    again = reconciler("pull", "--format", "json")
    assert again.code == 0, again.err
    (vip,) = json.loads(again.out)["locations"][0]["sets"]
    assert (vip["joined"], vip["left"], vip["size"]) == ([], [], len(set(numbers)))


def test_a_source_that_is_not_there_is_told_by_validate(reconciler: Command, declare: Declare) -> None:
    declare(prints(range(3)), contacts="{source: vipps}")
    ended = reconciler("validate")
    assert ended.code == 1
    assert "no source is called 'vipps'" in ended.out
    assert "did you mean 'vips'?" in ended.out


@pytest.mark.slow
@pytest.mark.extras
def test_sql_reads_its_files_and_nothing_else(reconciler: Command, declare: Declare, project: Path) -> None:
    need("duckdb")
    declare("")
    manifests = project / "manifests"
    rows = "".join(f"{contact_id(number)},{number:03}\n" for number in range(12))
    (manifests / "orders.csv").write_text(f"id,total\n{rows}")
    (manifests / "other.csv").write_text("id\nx\n")

    def ask(sql: str) -> tuple[int, str]:
        source = {"sources": {"vips": {"sql": sql, "files": ["orders.csv"], "timeout_s": 2}}}
        (manifests / "reconciler.yaml").write_text(json.dumps(source))
        ended = reconciler("pull", "--set", "vip")
        return ended.code, ended.out

    os.chdir(project)
    assert ask("select id from orders where total >= '006'")[0] == 0
    for sql in (
        "select * from read_csv('manifests/other.csv')",
        "select * from read_text('/etc/passwd')",
        "select * from 'https://example.com/a.csv'",
        "copy orders to 'stolen.csv'",
        "select 1; select 2",
        "select no_such_column from orders",
    ):
        code, out = ask(sql)
        assert (code, "source vips failed" in out) == (1, True), sql
    code, out = ask("select count(*)::text as id from range(10000000) a, range(10000000) b")
    assert (code, "it did not end within 2 s" in out) == (1, True)
    assert not (project / "stolen.csv").exists()
