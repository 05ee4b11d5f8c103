"""Whole batches that the API refuses: taken apart, learnt from, or the end of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import DAY_MS, ContactState
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Caps
from reconciler.core.running.batch_split import add_trial, read_limits
from reconciler.sandbox.app import App
from reconciler.sandbox.messages import Request, Response, error_response
from reconciler.sandbox.world import World
from reconciler.store import open_reader, open_store
from tests.apply.test_scenarios import FREE, converged, pairs, status
from tests.build import HERE, a_rule, a_set, contact, name
from tests.fakes import START, a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import Scene

WRITES = "/contacts/bulk"
TEN = [f"c{nth}" for nth in range(10)]


def facts(scene: Scene) -> LocationFacts:
    with open_reader(scene.url) as reader:
        return reader.at(HERE).load_state().facts


def sizes(scene: Scene) -> list[tuple[int, int, int | None]]:
    return [(len(each.contacts), len(each.tags), each.status) for each in scene.here.sent]


def learnt(scene: Scene) -> tuple[int | None, int | None]:
    return facts(scene).max_contacts, facts(scene).max_tags


def extra(scene: Scene) -> int:
    """Requests beyond those that were taken."""
    return sum(each.status != 201 for each in scene.here.sent)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("named", "limit"), [(True, 6), (False, 5)])
def test_a_limit_of_contacts_is_learnt_remembered_and_heeded(tmp_path: Path, named: bool, limit: int) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, max_contacts=6, oversize_names_limit=named)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    # a number is taken as it is; without one the whole is sent once more before it is halved
    refusals = [(10, 1, 422)] if named else [(10, 1, 400)] * 2
    assert sizes(scene) == [*refusals, (limit, 1, 201), (10 - limit, 1, 201)]
    assert (pairs(report), report.exit_code) == ({"applied": 10}, ExitCode.DONE)
    assert ("refused for its size" in report.notes[0], report.rounds) == (True, 1)
    assert ("not more than 6 elements" if named else "Bad Request") in report.notes[0]
    assert (learnt(scene), facts(scene).limits_at is not None) == ((limit, None), True)
    scene.want(a_set("s", TEN, "a b"))
    scene.apply()
    assert [each[:2] for each in sizes(scene)[len(refusals) + 2 :]] == [(limit, 1), (10 - limit, 1)]
    converged(scene)


@pytest.mark.slow
def test_parts_for_nobody_are_left_out_and_those_behind_them_are_sent(tmp_path: Path) -> None:
    """The first part shows that its two contacts are gone: they need no second one."""
    scene = Scene(tmp_path, *map(contact, TEN[:4]), options=FREE, max_contacts=2, max_tags=1)
    scene.want(a_set("s", TEN[:4], "a b"))

    def delete(nth: int) -> None:
        for each in TEN[: 2 * nth][:2]:
            scene.here.crm.delete(name(each), now=scene.clock.now())

    scene.here.before = delete
    report = scene.apply()

    assert shown(scene) == "0123:ab! 01:a 23:a 23:b"
    assert (pairs(report), report.rounds) == ({"applied": 4, "rejected": 2, "not_sent": 2}, 1)


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_a_limit_of_tags_is_learnt_first(tmp_path: Path, named: bool) -> None:
    tags = [f"t{nth}" for nth in range(8)]
    scene = Scene(tmp_path, contact("anna"), options=FREE, max_tags=4, oversize_names_limit=named)
    scene.want(a_set("s", "anna", tags))
    report = scene.apply()

    assert [each[:2] for each in sizes(scene)][1 if named else 2 :] == [(1, 4), (1, 4)]
    assert (pairs(report), learnt(scene)) == ({"applied": 8}, (None, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contacts", "tags", "limits", "found"),
    [
        (500, 1, (100, 50), (63, None)),
        (18, 1, (1, 50), (1, None)),
        (3, 50, (500, 10), (None, 7)),
        pytest.param(500, 1, (1, 50), (1, None), marks=pytest.mark.slow),
        pytest.param(1, 50, (500, 1), (None, 1), marks=pytest.mark.slow),
        pytest.param(500, 50, (100, 10), (63, 7), marks=pytest.mark.slow),
        (2, 2, (1, 50), (1, None)),
        (2, 2, (500, 1), (None, 1)),
        (2, 2, (1, 1), (None, 1)),
    ],
)
def test_a_limit_far_below_ours_is_found_within_forty_requests(
    tmp_path: Path, contacts: int, tags: int, limits: tuple[int, int], found: tuple[int | None, int | None]
) -> None:
    everybody = [f"c{nth:03}" for nth in range(contacts)]
    people = [contact(f"{each}x") for each in everybody]
    scene = Scene(
        tmp_path, *people, options=FREE, max_contacts=limits[0], max_tags=limits[1], oversize_names_limit=False
    )
    scene.want(a_set("s", [f"{each}x" for each in everybody], [f"t{nth:02}" for nth in range(tags)]))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": contacts * tags}, ExitCode.DONE)
    assert (learnt(scene), extra(scene) <= 40, report.rounds) == (found, True, 1)
    converged(scene)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_that_passes_teaches_no_size(tmp_path: Path, status: int) -> None:
    """ "Please try again later": the same request is taken a moment later."""
    plan = FaultPlan({0: Fault(FaultKind.TRY_LATER, status)}, path=WRITES)
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, faults=plan)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    assert sizes(scene) == [(10, 1, status), (10, 1, 201)]
    assert (pairs(report), facts(scene)) == ({"applied": 10}, LocationFacts(moves_updated=True))
    assert "try again later" in report.notes[0]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("contacts must contain no more than 100 elements", (100, None)),
        ("contacts must contain not more than 100 elements", (100, None)),
        ("tags must contain no more than 10 elements", (None, 10)),
        ("contacts must contain no more than 100 elements; tags must contain at most 10 items", (100, 10)),
        ('https://x:443 answered 422: "contacts" must contain less than or equal to 100 items', (100, None)),
        ("Maximum of 100 contacts exceeded", (100, None)),
        ("You cannot send more than 100 contacts", (100, None)),
        # bigger than what was sent, or about something else
        ("contacts must contain no more than 1000 elements", None),
        ("contacts must contain no more than 500 elements", None),
        ("tags must contain no more than 50 elements", None),
        ("contacts must contain no more than 0 elements", None),
        ("each value in tags must be shorter than or equal to 5 characters", None),
        ("each value in tags must contain no more than 5 characters", None),
        ("at most 100 contacts per 10 seconds", None),
        ("a contact may carry no more than 20 tags", None),
        ("no more than 20 elements", None),
        ("https://api.example answered 400: Bad Request", None),
        ("", None),
    ],
)
def test_a_number_is_a_size_where_the_message_says_so(
    message: str, found: tuple[int | None, int | None] | None
) -> None:
    contacts, tags = tuple(ContactId(f"c{nth}") for nth in range(500)), tuple(Tag(f"t{nth}") for nth in range(50))
    assert read_limits(message, Batch(Action.ADD, contacts, tags)) == found


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("under_way", "refused"), [(True, 4), (False, 1)])
def test_a_limit_that_one_request_teaches_is_heeded_by_all(tmp_path: Path, under_way: bool, refused: int) -> None:
    """`under_way`: the others left at the same time. Else they wait for the first answer, and leave in parts."""
    everybody = [f"{letter}{nth}" for nth in range(6) for letter in "abcd"]
    options = replace(FREE, caps=Caps(contacts=6))
    scene = Scene(tmp_path, *map(contact, [*everybody, "x"]), options=options, max_contacts=3, latency_ms=1_000)
    scene.want(a_set("s", everybody, "b"), *([a_set("t", "x", "a")] if under_way else []))
    report = scene.apply()

    first = [(1, 1, 201)] if under_way else []
    assert sizes(scene) == first + [(6, 1, 422)] * refused + [(3, 1, 201)] * 8
    assert (pairs(report), len(report.notes), report.rounds) == ({"applied": 24 + under_way}, 1, 1)


def test_a_tag_that_is_refused_is_found_and_left_out(tmp_path: Path) -> None:
    tags = ["a", "b", "c", "much too long"]
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=5)
    scene.want(a_set("s", TEN, tags))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 30, "not_sent": 10}, ExitCode.PARTIAL)
    assert {(each.tags, each.outcome) for each in report.findings} == {(("much too long",), "not_sent")}
    assert "shorter than or equal to 5" in report.findings[0].message
    assert status(scene) == [RunStatus.COMPLETE]
    assert scene.known("c0").ledger.tags == {"a", "b", "c"}  # type: ignore[attr-defined]


def test_what_goes_stays_where_what_comes_was_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=5)
    scene.want(a_set("s", TEN, "old"))
    scene.apply()
    scene.clock.ms += 60_000
    scene.want(a_set("s", TEN, ("a", "much too long")))
    report = scene.apply()

    assert pairs(report) == {"applied": 10, "not_sent": 20}
    assert scene.tags("c3") == {"a", "old"}


def test_where_everything_is_refused_alike_the_run_stops(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=1)
    scene.want(a_set("s", TEN, "too long"))
    report = scene.apply()

    # the batch twice, both halves of its tags, one contact, a single pair
    assert [each[:2] for each in sizes(scene)] == [(10, 2), (10, 2), (10, 1), (10, 1), (1, 2), (1, 1)]
    assert (pairs(report), report.exit_code) == ({"not_sent": 20}, ExitCode.ERROR)
    assert ("422" in report.error, "a single contact" in report.hint) == (True, True)
    assert scene.known("c0") == ContactState()
    assert facts(scene) == LocationFacts()


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("contacts", "tags", "tried"),
    [
        (1, 1, [(1, 1)]),
        (1, 2, [(1, 2), (1, 2), (1, 1), (1, 1)]),
        (2, 1, [(2, 1), (2, 1), (1, 1), (1, 1)]),
        (4, 1, [(4, 1), (4, 1), (2, 1), (2, 1), (1, 1)]),
    ],
)
def test_a_single_pair_that_is_refused_ends_the_search_for_a_reason(
    tmp_path: Path, contacts: int, tags: int, tried: list[tuple[int, int]]
) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=1)
    scene.want(a_set("s", TEN[:contacts], ["too long", "too long as well"][:tags]))
    report = scene.apply()

    assert [each[:2] for each in sizes(scene)] == tried
    assert (pairs(report), report.exit_code) == ({"not_sent": contacts * tags}, ExitCode.ERROR)
    assert "a single contact" in report.hint


@pytest.mark.slow
def test_a_tag_that_is_refused_is_left_out_of_every_request(tmp_path: Path) -> None:
    options = replace(FREE, caps=Caps(contacts=2))
    scene = Scene(tmp_path, *map(contact, TEN), options=options, longest_tag=5)
    scene.want(a_set("s", TEN, ["a", "much too long"]))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 10, "not_sent": 10}, ExitCode.PARTIAL)
    assert {(each.tags, each.outcome) for each in report.findings} == {(("much too long",), "not_sent")}
    # of the contacts of the first request alone it is asked whether the tag is at fault
    alone = [each.contacts for each in scene.here.sent if each.tags == ["much too long"]]
    assert len({who for contacts in alone for who in contacts}) == 2


Refuses = Callable[[set[str], set[str]], bool]


class Picky(App):
    """Refuses requests by their contacts, called by their digits, and their tags; its words name them both."""

    def __init__(self, world: World, refuses: Refuses) -> None:
        super().__init__(world)
        self.refuses = refuses

    def perform(self, request: Request, now: Instant) -> Response:
        if request.method == "POST":
            body = json.loads(request.body)
            who, tags = "".join(each[1] for each in body["contacts"]), "".join(body["tags"])
            if self.refuses(set(who), set(tags)):
                return error_response(422, f"{who}:{tags} is refused")
        return super().perform(request, now)


def shown(scene: Scene) -> str:
    """Each request as the digits of its contacts and its tags; those that were refused with an exclamation mark."""
    sent = [("".join(who[1] for who in each.contacts), "".join(each.tags), each.status) for each in scene.here.sent]
    return " ".join(f"{who}:{tags}{'!' * (status != 201)}" for who, tags, status in sent)


@pytest.mark.one_in(13)
@pytest.mark.parametrize(
    ("asked", "refuses", "requests", "left_out", "sizes"),
    [
        pytest.param(
            "0123:a",
            lambda who, tags: "2" in who,
            "0123:a! 0123:a! 01:a 23:a! 2:a! 3:a",
            "2:a",
            (None, None),
            id="a contact",
        ),
        pytest.param(
            "0123:ab",
            lambda who, tags: "2" in who,
            "0123:ab! 0123:ab! 0123:a! 0123:b! 0:ab 123:ab! 12:ab! 3:ab 1:ab 2:ab!",
            "2:ab",
            (None, None),
            id="a contact in all of several tags",
        ),
        pytest.param(
            "012345:ab",
            lambda who, tags: who & {"1", "4"},
            "012345:ab! 012345:ab! 012345:a! 012345:b! 0:ab 12345:ab! 123:ab! 45:ab! 12:ab! 3:ab 1:ab! 2:ab 4:ab! 5:ab",
            "1:ab 4:ab",
            (None, None),
            id="two contacts in all of several tags",
        ),
        pytest.param(
            "012345:a",
            lambda who, tags: who & {"1", "4"},
            "012345:a! 012345:a! 012:a! 345:a! 0:a 12:a! 1:a! 2:a 34:a! 5:a 3:a 4:a!",
            "1:a 4:a",
            (None, None),
            id="a contact of each half",
        ),
        pytest.param(
            "012:a",
            lambda who, tags: who & {"1", "2"},
            "012:a! 012:a! 01:a! 2:a! 0:a 1:a!",
            "1:a 2:a",
            (None, None),
            id="all contacts but the first",
        ),
        pytest.param(
            "0123:ab",
            lambda who, tags: who & {"2", "3"} and "b" in tags,
            "0123:ab! 0123:ab! 0123:a 0123:b! 01:b 23:b! 2:b! 3:b!",
            "2:b 3:b",
            (None, None),
            id="a tag for two contacts, one by one",
        ),
        pytest.param(
            "0123:abcd",
            lambda who, tags: who & {"1", "2"} and "b" in tags,
            "0123:abcd! 0123:abcd! 0123:ab! 0123:cd 0123:a 0123:b! 01:b! 23:b!",
            "0:b=0123:b 1:b=0123:b 2:b=0123:b 3:b=0123:b",
            (None, None),
            id="a tag for a contact of each half: it is given up for all",
        ),
        pytest.param(
            "012:abcd",
            lambda who, tags: tags & {"b", "d"},
            "012:abcd! 012:abcd! 012:ab! 012:cd! 0:abcd! 0:a 0:bcd! 0:bc! 0:d! 0:b! 0:c 12:ac",
            "0:b 0:d 1:b=0:b 1:d=0:d 2:b=0:b 2:d=0:d",
            (None, None),
            id="a tag of each half: both are left out for everybody else, too",
        ),
        pytest.param(
            "012:ab",
            lambda who, tags: "b" in tags or "2" in who,
            "012:ab! 012:ab! 012:a! 012:b! 0:ab! 0:a 0:b! 12:a! 12:a! 1:a 2:a!",
            "0:b 1:b=0:b 2:a 2:b=0:b",
            (None, None),
            id="a tag, and a contact",
        ),
        pytest.param(
            "0:abcd",
            lambda who, tags: tags & {"b", "c"},
            "0:abcd! 0:abcd! 0:ab! 0:cd! 0:a 0:bcd! 0:bc! 0:d 0:b! 0:c!",
            "0:b 0:c",
            (None, None),
            id="a tag of each half, for one contact",
        ),
        pytest.param(
            "012:ab",
            lambda who, tags: len(who) > 1 or len(tags) > 1,
            "012:ab! 012:ab! 012:a! 012:b! 0:ab! 0:a 0:b 12:a! 12:a! 1:a 2:a 1:b 2:b",
            "",
            (1, 1),
            id="all but single pairs",
        ),
        pytest.param(
            "01234:abc",
            lambda who, tags: len(who) * len(tags) > 4,
            "01234:abc! 01234:abc! 01234:ab! 01234:c! 0:abc 1234:abc! 12:abc! 34:abc! 1:abc 2:abc 3:abc 4:abc",
            "",
            (1, None),
            id="too many pairs",
        ),
    ],
)
def test_the_reason_of_a_refusal_is_looked_for_in_parts(
    tmp_path: Path,
    asked: str,
    refuses: Refuses,
    requests: str,
    left_out: str,
    sizes: tuple[int | None, int | None],
) -> None:
    """`left_out`: what is not sent, and the request whose refusal is told as the reason, where it was of more."""
    who, tags = asked.split(":")
    people = [f"c{digit}" for digit in who]
    scene = Scene(tmp_path, *map(contact, people), options=FREE)
    scene.here.network.app = Picky(scene.here.crm, refuses)
    scene.want(a_set("s", people, list(tags)))
    report = scene.apply()

    assert (shown(scene), learnt(scene), report.rounds) == (requests, sizes, 1)
    told = [f"{each.contact[1]}:{''.join(each.tags)}={each.message}" for each in report.findings]
    reasons = [reason if "=" in reason else f"{reason}={reason}" for reason in left_out.split()]
    place, words = "https://api.example answered 422: ", " is refused"
    assert sorted(each.replace(place, "").replace(words, "") for each in told) == reasons
    assert sum(pairs(report).values()) == len(who) * len(tags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "requests", "words"),
    [
        ("0:a", "0:a!", "0:a"),
        ("01:a", "01:a! 01:a! 0:a! 1:a!", "0:a"),
        ("0:ab", "0:ab! 0:ab! 0:a! 0:b!", "0:a"),
        ("012:a", "012:a! 012:a! 01:a! 2:a! 0:a!", "0:a"),
        ("01:ab", "01:ab! 01:ab! 01:a! 01:b! 0:ab! 0:a!", "0:a"),
    ],
)
def test_where_not_even_a_single_pair_is_taken_the_run_stops(
    tmp_path: Path, asked: str, requests: str, words: str
) -> None:
    who, tags = asked.split(":")
    scene = Scene(tmp_path, *(contact(f"c{digit}") for digit in who), options=FREE)
    scene.here.network.app = Picky(scene.here.crm, lambda who, tags: True)
    scene.want(a_set("s", [f"c{digit}" for digit in who], list(tags)))
    report = scene.apply()

    assert (shown(scene), pairs(report)) == (requests, {"not_sent": len(who) * len(tags)})
    assert report.error == f"https://api.example answered 422: {words} is refused"
    assert report.hint == (
        "a single contact and tag is refused too; if it is the size, see api.max_contacts and max_tags"
    )


LOST = Fault(FaultKind.RESET_AFTER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "answered"),
    [
        # the whole is sent once more, or in halves, or one contact and the remainder
        ({0: Fault(FaultKind.TRY_LATER, 400), 1: LOST}, [400, None]),
        ({3: LOST}, [400, 400, 201, None]),
        ({2: LOST, 3: LOST}, [400, 400, None, None]),
    ],
)
def test_a_request_without_an_answer_teaches_no_size(
    tmp_path: Path, faults: dict[int, Fault], answered: list[int | None]
) -> None:
    plan = FaultPlan(faults, path=WRITES)
    most = 10 if 0 in faults else 6
    scene = Scene(
        tmp_path, *map(contact, TEN), options=FREE, faults=plan, max_contacts=most, oversize_names_limit=False
    )
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    assert [each[2] for each in sizes(scene)] == answered
    assert (sum(pairs(report).values()), report.exit_code, learnt(scene)) == (10, ExitCode.DONE, (None, None))
    assert not any("refused for its size" in note or "taken the second time" in note for note in report.notes)
    assert max(scene.adds().values()) == 1


@pytest.mark.slow
def test_a_larger_request_without_an_answer_widens_no_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE)
    teach(scene, 2, contacts=3)
    before = facts(scene)
    scene.here.network.plan = FaultPlan(dict.fromkeys(range(3), LOST), path=WRITES)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    assert (pairs(report), sorted(each[0] for each in sizes(scene))) == ({"seen": 10}, [3, 3, 4])
    assert facts(scene) == before


@pytest.mark.slow
def test_no_more_than_forty_requests_are_spent_on_it(tmp_path: Path) -> None:
    tags = [f"t{nth:02}" if nth % 2 else f"much too long {nth:02}" for nth in range(50)]
    scene = Scene(tmp_path, contact("anna"), options=FREE, longest_tag=5)
    scene.want(a_set("s", "anna", (*tags, "a ok")))
    report = scene.apply()

    assert report.requests == 41
    assert (report.exit_code, "40 more did not tell why" in report.error) == (ExitCode.ERROR, True)
    assert "shorter than or equal to 5" in report.error
    assert report.hint == "see api.max_contacts and api.max_tags, and the tags of the batch"


def teach(scene: Scene, days_ago: int, *, contacts: int | None = None, tags: int | None = None) -> None:
    """What a refusal taught an earlier run."""
    at = Instant(scene.clock.ms - days_ago * DAY_MS)
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("earlier"), scene.clock.now())
        store.save_facts(lease, LocationFacts(moves_updated=True, max_contacts=contacts, max_tags=tags, limits_at=at))
        store.release_lease(lease)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("days", "sent", "limit"),
    [
        (0, [3, 3, 3, 1], 3),
        # one larger request, which costs none where it is taken
        (1, [4, 3, 3], 4),
        (6, [4, 3, 3], 4),
        (7, [10], 3),
    ],
)
def test_what_was_learnt_of_sizes_grows_back_and_expires(
    tmp_path: Path, days: int, sent: list[int], limit: int
) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE)
    teach(scene, days, contacts=3)
    before = facts(scene)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply(options=replace(FREE, now=scene.clock.now()))

    assert (pairs(report), sorted((each[0] for each in sizes(scene)), reverse=True)) == ({"applied": 10}, sent)
    # what was tried with success is as old as the limit that it widens
    assert facts(scene) == replace(before, max_contacts=limit)
    converged(scene)


@pytest.mark.slow
def test_a_larger_request_that_is_refused_costs_one_and_renews_the_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, max_contacts=3, oversize_names_limit=False)
    teach(scene, 2, contacts=3)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    assert pairs(report) == {"applied": 10}
    assert sorted(each[0] for each in sizes(scene) if each[2] == 201) == [1, 3, 3, 3]
    assert [each[0] for each in sizes(scene) if each[2] == 400] == [4]
    assert (learnt(scene), (facts(scene).limits_at or 0) >= START) == ((3, None), True)
    assert ("was tried" in report.notes[0], "Bad Request" in report.notes[0]) == (True, True)
    # so no other one is tried the same day
    scene.want(a_set("s", TEN, "a b"))
    scene.apply()
    assert extra(scene) == 1


@pytest.mark.slow
def test_a_larger_request_of_tags_is_tried_too(tmp_path: Path) -> None:
    tags = [f"t{nth}" for nth in range(8)]
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    teach(scene, 2, tags=3)
    scene.want(a_set("s", "anna", tags))
    scene.apply()
    assert (sorted(each[1] for each in sizes(scene)), learnt(scene)) == ([3, 5], (None, 5))


@pytest.mark.slow
def test_a_limit_that_allows_all_is_none(tmp_path: Path) -> None:
    options = replace(FREE, caps=Caps(contacts=4))
    scene = Scene(tmp_path, *map(contact, TEN), options=options)
    teach(scene, 2, contacts=2)
    scene.want(a_set("s", TEN, "a"))
    scene.apply()
    assert (facts(scene), max(sizes(scene))[0]) == (LocationFacts(moves_updated=True), 4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"triggers": True}, {"once": True}], ids=["triggers", "once"])
def test_what_starts_something_is_no_trial(tmp_path: Path, rule: dict[str, bool]) -> None:
    """A refused request of it would be looked at, contact by contact."""
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE)
    teach(scene, 2, contacts=3)
    scene.want(a_set("s", TEN, "a"), rule=[a_rule("a", **rule)])
    scene.apply()
    assert sorted(each[0] for each in sizes(scene)) == [1, 3, 3, 3]


def test_removals_wait_for_the_batch_that_two_became() -> None:
    def a_batch(action: Action, who: str, *after: int) -> Batch:
        return Batch(action, tuple(map(ContactId, who.split())), (Tag("a"),), after)

    add, remove = Action.ADD, Action.REMOVE
    batches = [a_batch(add, "c d"), a_batch(add, "x y"), a_batch(add, "e"), a_batch(remove, "x e", 1, 2)]
    merged, trial = add_trial(batches, Caps(10), Caps(2), spare=frozenset())
    assert trial == a_batch(add, "x y e")
    assert merged == (a_batch(add, "c d"), trial, a_batch(remove, "x e", 1))
    assert add_trial(batches, Caps(2), Caps(2), spare=frozenset()) == (tuple(batches), None)
    assert add_trial(batches, Caps(10), Caps(2), spare=frozenset({Tag("a")})) == (tuple(batches), None)
