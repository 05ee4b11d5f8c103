"""Sets whose people are matched, as a user plans by them: by the snapshot of a pull alone (contract 3.12, 4.8)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.loading.snapshot_files import write_snapshot
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import wall_clock
from tests.ci.hostile import git
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder

HOUR = 3_600_000
VIP = SetName("vip")
STATE = "sqlite:///.reconciler/state.db"
Pull = Callable[..., None]


def snapshot(numbers: range, age: int = 0) -> Snapshot:
    contacts = tuple(map(contact_id, numbers))
    return Snapshot(contacts, Instant(wall_clock() - age), "sha256:0", MatchCounts(len(contacts), len(contacts)))


def into_state(numbers: range, age: int = 0) -> None:
    Path(".reconciler").mkdir(exist_ok=True)
    with open_store(STATE) as store:
        here = store.at(LOCATION)
        lease = here.acquire_lease(a_holder(), wall_clock())
        here.save_snapshots(lease, {VIP: snapshot(numbers, age)})
        here.release_lease(lease)


def into_files(numbers: range, age: int = 0) -> None:
    Path("manifests/reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    write_snapshot(Path("manifests/.resolved"), LOCATION, VIP, snapshot(numbers, age))


@pytest.fixture(params=[into_state, into_files], ids=["state", "files"])
def pull(request: pytest.FixtureRequest, project: Path) -> Pull:
    """Stands in for a pull: a snapshot of these contacts, in the state or as files."""
    keep: Pull = request.param
    if keep is into_files:
        (project / "manifests" / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    return keep


@pytest.fixture
def matched(project: Path) -> None:
    """A set that is matched, and one that is made of it."""
    (project / "manifests" / "people.csv").write_text("mail\nann@example.com\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n"
        "  vip:\n    contacts: {file: people.csv, match: {email: mail}, max_age: 24h}\n    tags: [vip]\n"
        "  best: {contacts: {sets: [vip]}, tags: [best]}\n"
    )


def planned(reconciler: Command) -> dict[str, object]:
    ended = reconciler("plan", "--format", "json")
    assert ended.code == 0, ended.err
    plan: dict[str, object] = json.loads(ended.out)
    return plan


@pytest.mark.usefixtures("matched", "pull")
def test_a_set_that_was_never_pulled_is_refused_with_its_place(reconciler: Command, world: World) -> None:
    for command in (["plan"], ["drift"], ["apply", "--auto-approve"]):
        ended = reconciler(*command)
        assert ended.code == 1
        assert "manifests/acme.yaml:4:22: contact set 'vip' has no snapshot" in ended.err
        assert "hint: reconciler pull --set vip" in ended.err
    assert not world.transitions
    assert reconciler("validate").code == 0


@pytest.mark.usefixtures("matched")
def test_a_snapshot_plans_as_its_ids_do(reconciler: Command, pull: Pull, project: Path) -> None:
    pull(range(3))
    by_snapshot = planned(reconciler)
    ids = ", ".join(map(contact_id, range(3)))
    text = (project / "manifests" / "acme.yaml").read_text()
    (project / "manifests" / "acme.yaml").write_text(
        text.replace("{file: people.csv, match: {email: mail}, max_age: 24h}", f"[{ids}]")
    )
    by_ids = planned(reconciler)
    assert by_snapshot["change_digest"] == by_ids["change_digest"]
    assert by_snapshot["locations"][0]["manifests_digest"] == by_ids["locations"][0]["manifests_digest"]  # type: ignore[index]
    assert by_ids["valid_until"] is None
    assert by_snapshot["valid_until"] is not None


@pytest.mark.slow
@pytest.mark.usefixtures("matched")
def test_the_people_need_not_be_where_tags_are_planned(
    reconciler: Command, pull: Pull, world: World, project: Path
) -> None:
    (project / "manifests" / "people.csv").unlink()
    assert "no such file" in reconciler("plan").err
    pull(range(3))
    for command in ("plan", "drift", "validate"):
        ended = reconciler(command)
        assert ended.code == 0
        unknown = "manifests/people.csv is not here: whether contact set 'vip' changed since its pull is unknown"
        assert f"manifests/acme.yaml:4:22: warning: {unknown}" in ended.err + ended.out
    assert "1 manifest, 1 location" in reconciler("doctor", "--offline").out
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.transitions) == 6


@pytest.mark.usefixtures("matched")
def test_what_changed_since_its_pull_is_told_before_it_is_planned(reconciler: Command, pull: Pull) -> None:
    pull(range(3))
    warning = "manifests/acme.yaml:4:22: warning: contact set 'vip' was pulled at "
    for command in ("plan", "validate"):
        ended = reconciler(command)
        assert ended.code == 0
        assert warning in ended.err + ended.out
        assert "and its file or its match has changed since" in ended.err + ended.out
    assert reconciler("validate", "--strict").code == 1


@pytest.mark.usefixtures("matched")
@pytest.mark.parametrize("elsewhere", [True, False], ids=["on another host", "damaged"])
def test_manifests_are_checked_without_snapshots_that_cannot_be_read(
    reconciler: Command, project: Path, elsewhere: bool
) -> None:
    """No host is asked, and a set whose snapshot nobody looked at is not said to have none."""
    (project / "manifests" / "people.csv").unlink()
    Path("state.db").write_bytes(b"not a state")
    state = "postgresql://crm:hunter2hunter2@127.0.0.1:1/crm" if elsewhere else "sqlite:///state.db"
    ended = reconciler("validate", "--state", state)
    assert ended.code == 0
    assert "matched sets of 1 location are checked without their contacts: " in ended.err
    assert "warning: manifests/people.csv is not here" in ended.out
    assert "has no snapshot" not in ended.out
    assert "hunter2" not in ended.err


@pytest.mark.usefixtures("matched")
def test_files_and_state_plan_alike(reconciler: Command) -> None:
    into_state(range(4))
    first = planned(reconciler)
    into_files(range(4))
    assert planned(reconciler)["change_digest"] == first["change_digest"]


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("matched")
def test_a_newer_pull_makes_an_approved_plan_stale(reconciler: Command, pull: Pull, world: World) -> None:
    pull(range(3), HOUR)
    assert reconciler("plan", "--out", "plan.json").code == 0
    pull(range(4))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 4
    assert f"contact set 'vip' of location {LOCATION} was pulled since" in ended.err
    assert not world.transitions
    # the same contacts, pulled anew: what was approved is what is called for
    pull(range(3))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert len(world.transitions) == 6


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("matched")
def test_a_pull_that_is_too_old_is_refused(reconciler: Command, pull: Pull, world: World) -> None:
    pull(range(3), 23 * HOUR)
    assert reconciler("plan", "--out", "plan.json").code == 0
    pull(range(3), 25 * HOUR)
    for command in (["plan"], ["drift"], ["apply", "--auto-approve"], ["apply", "plan.json", "--auto-approve"]):
        ended = reconciler(*command)
        assert ended.code == 1
        assert "is too old since" in ended.err
    assert not world.transitions


@pytest.mark.slow
@pytest.mark.usefixtures("matched")
def test_commands_that_plan_nothing_need_no_pull(reconciler: Command) -> None:
    for command in (["refresh"], ["state", "show", contact_id(0)], ["sandbox", "make", "--data", "world.json"]):
        assert "has no snapshot" not in reconciler(*command).err


@pytest.mark.slow
@pytest.mark.usefixtures("matched")
@pytest.mark.parametrize(("age", "code"), [(29, 0), (31, 1)], ids=["29 days", "31 days"])
def test_a_pull_of_a_branch_without_a_set_keeps_its_snapshot_for_30_days(
    reconciler: Command, project: Path, age: int, code: int
) -> None:
    into_state(range(3), age * 24 * HOUR)
    manifest = project / "manifests" / "acme.yaml"
    declared = manifest.read_text().replace(", max_age: 24h", "")
    (project / "manifests" / "people.csv").write_text("mail\n")
    manifest.write_text(
        f"location: {LOCATION}\ncontact_sets:\n"
        "  new: {contacts: {file: people.csv, match: {email: mail}}, tags: [new], allow_empty: true}\n"
    )
    assert reconciler("pull").code == 0
    manifest.write_text(declared)
    ended = reconciler("plan")
    assert ended.code == code
    assert ("'vip' has no snapshot" in ended.err) == (code == 1)


def everything(project: Path) -> dict[Path, bytes]:
    """All files but those of Git."""
    return {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}


@pytest.mark.slow
@pytest.mark.usefixtures("matched")
def test_to_declare_a_match_asks_nobody(
    reconciler: Command, pull: Pull, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    """What a pull request from a fork may write: until somebody pulls, no host is asked, and nothing is stored."""
    pull(range(3))
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "declared")
    before = everything(project)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for command in ("validate", "plan", "diff", "drift"):
            assert reconciler(command).code == 0
        nobody.setblocking(False)
        # whoever had asked would stand in the queue
        with pytest.raises(BlockingIOError):
            nobody.accept()
    assert everything(project) == before


@pytest.mark.slow
@pytest.mark.usefixtures("matched")
def test_diff_shows_who_joined_and_left_by_the_files_of_both_sides(reconciler: Command, project: Path) -> None:
    into_files(range(4))
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "pulled")
    into_files(range(1, 6))
    (change,) = json.loads(reconciler("diff", "--format", "json").out)["locations"]
    sets = {each["name"]: each for each in change["sets"]}
    assert (sets["vip"]["before"], sets["vip"]["after"]) == (4, 5)
    assert sets["vip"]["joined"] == [contact_id(4), contact_id(5)]
    assert sets["vip"]["left"] == [contact_id(0)]


@pytest.mark.slow
def test_diff_tells_that_a_filter_asks_for_another_address_and_shows_none(reconciler: Command, project: Path) -> None:
    manifest = project / "manifests" / "acme.yaml"
    vip = "{contacts: {filter: {email: {eq: ADDRESS}}}, tags: [vip]}"
    text = f"location: {LOCATION}\ncontact_sets:\n  vip: {vip}\n"
    manifest.write_text(text.replace("ADDRESS", "ann@example.com"))
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "declared")
    assert ".filter" not in reconciler("diff").out
    manifest.write_text(text.replace("ADDRESS", "bob@example.com"))
    ended = reconciler("diff")
    assert f"{LOCATION}.contact_sets.vip.filter" in ended.out
    assert "email eq (not shown)" in ended.out
    assert "example.com" not in ended.out + ended.err


@pytest.mark.usefixtures("matched")
def test_diff_compares_both_sides_by_the_state_of_now(reconciler: Command, project: Path) -> None:
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "declared")
    into_state(range(4))
    manifest = project / "manifests" / "acme.yaml"
    manifest.write_text(
        manifest.read_text().replace("tags: [vip]", "tags: [gold]").replace("max_age: 24h", "max_age: 1h")
    )
    ended = reconciler("diff", "--format", "json")
    (change,) = json.loads(ended.out)["locations"]
    assert {each["tag"]: (each["gained"], each["lost"]) for each in change["tags"]} == {"gold": (4, 0), "vip": (0, 4)}
    assert change["sets"] == []
    assert f"{LOCATION}.contact_sets.vip.max_age" in ended.out
    # a state that cannot be read, as in the job of a fork: the rest is compared, and the gap is named
    (project / ".reconciler" / "state.db").write_bytes(b"not a state")
    blind = reconciler("diff")
    assert blind.code == 0
    assert "matched sets are compared without their contacts: " in blind.err


@pytest.mark.usefixtures("matched")
def test_a_state_that_only_a_pull_request_names_is_not_asked(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "declared")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        state = f"postgresql://crm@127.0.0.1:{nobody.getsockname()[1]}/x"
        (project / "manifests" / "reconciler.yaml").write_text(f"state: {state}\n")
        for command in ("plan", "drift", "diff", "validate"):
            ended, looks = reconciler(command), command in ("diff", "validate")
            assert ("no host is asked" if looks else "stands only here") in ended.err
            assert ended.code == (0 if looks else 1)
        nobody.setblocking(False)
        with pytest.raises(BlockingIOError):
            nobody.accept()


def test_in_a_made_up_location_live_the_people_of_its_files_but_one_in_twenty(
    reconciler: Command, project: Path
) -> None:
    rows = [f"person{number}@example.com,+44 7700 90{number:04d},C-{number}" for number in range(40)]
    # a later row of the same person makes nobody twice, and one without an address nobody at all
    rows += [" PERSON7@example.com,,", "by the door,,"]
    (project / "manifests" / "people.csv").write_text("\n".join(["mail,mobile,number", *rows]) + "\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  vip:\n    contacts:\n      file: people.csv\n"
        "      match: {email: mail, field: customer_no, column: number}\n    tags: [vip]\n"
    )
    assert reconciler("sandbox", "make", "--data", "world.json", "--extra", "0").code == 0
    contacts = json.loads((project / "world.json").read_text())["contacts"]
    emails = {contact["person"]["email"] for contact in contacts}
    assert len(contacts) == len(emails) == 38
    assert emails < {f"person{number}@example.com" for number in range(40)}
    assert all(len(contact["person"]["custom_fields"]) == 1 for contact in contacts)


@pytest.mark.slow
def test_forget_names_the_snapshot_files_that_still_have_the_contact(
    reconciler: Command, matched: None, project: Path
) -> None:
    into_files(range(3))
    assert reconciler("apply", "--auto-approve").code == 0
    forgotten = reconciler("state", "forget", contact_id(1), "--location", LOCATION)
    listed = f"manifests/.resolved/{LOCATION}/vip.txt"
    assert forgotten.code == 0
    assert f"{listed} still names a contact that was forgotten" in forgotten.err
    assert listed not in reconciler("state", "forget", contact_id(7), "--location", LOCATION).err


SECOND = LocationId("bsdrwHvLUxlfw5SqKVCN")


@pytest.fixture
def two(matched: None, project: Path) -> Path:
    """Two locations with matched people, each with a file of its own, which a bad disk spoils later: the second's."""
    text = (project / "manifests" / "acme.yaml").read_text()
    (project / "manifests" / "second.yaml").write_text(text.replace(LOCATION, SECOND))
    (project / "manifests" / "reconciler.yaml").write_text(f"state: sqlite:///{project}/{{location}}.db\n")
    with open_store(f"sqlite:///{project}/{{location}}.db") as store:
        for place in (LOCATION, SECOND):
            lease = store.at(place).acquire_lease(a_holder(), wall_clock())
            store.at(place).save_snapshots(lease, {VIP: snapshot(range(3))})
            store.at(place).release_lease(lease)
    return project / f"{SECOND}.db"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("people", ["here", "elsewhere"])
def test_one_location_whose_snapshots_cannot_be_read_is_not_known_and_the_other_is_planned(
    two: Path, project: Path, reconciler: Command, people: str
) -> None:
    """The people may be kept where the pull runs, and nowhere else: then the snapshots alone tell of them."""
    if people == "elsewhere":
        (project / "manifests" / "people.csv").unlink()
    two.write_bytes(b"no state at all" * 100)
    for command in ("plan", "drift"):
        ended = reconciler(command, "--format", "json")
        document = json.loads(ended.out)
        assert [each["location"] for each in document["locations"]] == [LOCATION]
        assert [(each["location"], each["exit_code"]) for each in document["unknown"]] == [(SECOND, 1)]
        alone = reconciler(command, "--location", SECOND)
        assert (alone.code, "is damaged" in alone.err) == (1, True)


@pytest.mark.slow
def test_a_plan_file_tells_of_the_state_that_cannot_be_read_and_not_of_other_manifests(
    two: Path, reconciler: Command
) -> None:
    assert reconciler("plan", "--out", "plan.json").code == 0
    two.write_bytes(b"no state at all" * 100)
    ended = reconciler("apply", "plan.json", "--auto-approve", "--format", "json")
    reports = {each["location"]: each for each in json.loads(ended.out)["locations"]}
    assert (reports[SECOND]["exit_code"], "is damaged" in reports[SECOND]["error"]) == (1, True)
    assert reports[LOCATION]["exit_code"] == 0
