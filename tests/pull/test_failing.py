"""What goes wrong outside: refusals, limits, lost answers. No error of a look-up repeats what was looked for."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from reconciler.core.model.errors import AuthRefused, ExitCode, InDoubt
from reconciler.core.model.people import MatchKey
from reconciler.sandbox.app import Access
from tests.build import contact, name, person
from tests.pull.stage import EMAIL, NUMBER, PHONE, Stage, refuse
from tests.pull.test_index import addresses, crowd
from tests.sandbox.faults import Fault, FaultKind, FaultPlan

PASSING = (FaultKind.TOO_MANY, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.RESET_AFTER,
           FaultKind.ERROR_BEFORE, FaultKind.TRUNCATED, FaultKind.REFUSED)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", PASSING)
def test_a_fault_that_passes_is_waited_out(kind: FaultKind) -> None:
    stage = Stage(*crowd(600), faults=FaultPlan({1: Fault(kind), 3: Fault(kind)}))
    pulled = stage.pull(*addresses(range(600)))
    assert len(stage.network.met) == 2
    assert not pulled.read.update.incomplete
    assert pulled.result.counts.matched == 600


def test_a_token_without_the_right_to_read_contacts_ends_with_7() -> None:
    stage = Stage(*crowd(5), access=Access(scopes=frozenset({"contacts.write"})))
    with pytest.raises(AuthRefused) as refused:
        stage.pull(*addresses(range(5)))
    assert refused.value.exit_code == ExitCode.AUTH


def test_custom_fields_that_may_not_be_read_end_with_7() -> None:
    stage = Stage(*crowd(5), access=Access(scopes=frozenset({"contacts.readonly"})))
    with pytest.raises(AuthRefused):
        stage.pull("A-1", keys=NUMBER)


ECHOES: list[Callable[[str], str]] = [
    "no contact with {} here".format,
    ("x" * 170 + " no contact with {} here").format,
    "{}".format,
    # servers and gateways repeat a value as they spell it
    lambda value: quote(value, safe="."),
    str.upper,
    lambda value: value.replace("@", "&#64;"),
    lambda value: " ".join(value),
]


@pytest.mark.one_in(64)
@pytest.mark.parametrize("echo", ECHOES, ids=["inside", "far", "alone", "url", "capitals", "html", "apart"])
@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(
    ("keys", "value", "secret"),
    [
        (EMAIL, "ann.secret@example.com", "ann.sec"),
        (PHONE, "+44 20 7946 0001", "79460"),
        (NUMBER, "Secret-0042", "secret-0"),
    ],
)
def test_an_error_that_repeats_the_value_is_told_without_it(
    echo: Callable[[str], str], status: int, keys: tuple[MatchKey, ...], value: str, secret: str
) -> None:
    someone = contact("ann", person=person("ann.secret@example.com", "+442079460001", "Secret-0042"))
    stage = Stage(someone, *crowd(2_000))
    sent = {"ann.secret@example.com": "Ann.Secret@example.com", "+44 20 7946 0001": "+442079460001"}.get(value, value)
    found = False

    def answer(asked: object) -> httpx.Response | None:
        nonlocal found
        if not getattr(asked, "is_look_up"):  # noqa: B009
            return None
        if not found:
            # the probe is answered, so that the look-up is trusted
            found = True
            return None
        return refuse(status, echo(sent))

    stage.transport.answers = answer
    told = ""
    try:
        # a refusal is about the value: the pull goes on by reading all contacts
        told = "".join(stage.pull(value, keys=keys).read.list_remarks())
        assert status in (400, 422)
    except InDoubt as error:
        assert status == 500
        told = repr(error) + "".join((*error.lines, *error.hints, *error.said, repr(error.args), str(error.__cause__)))
    told = (told + repr(stage.listener.events)).lower()
    assert secret not in told
    assert secret.replace("", " ").strip() not in told


@pytest.mark.slow
def test_a_value_that_the_api_refuses_is_one_value() -> None:
    stage = Stage(*crowd(5_000))
    rows = addresses(range(5))
    stage.transport.answers = lambda asked: refuse(400, "no") if asked.is_look_up and rows[3] in asked.body else None
    pulled = stage.pull(*rows)
    assert len(pulled.contacts) == 4
    assert pulled.read.update.refused == 1
    assert any("refused to look up 1 value" in remark for remark in pulled.read.list_remarks())


@pytest.mark.slow
def test_nobody_leaves_because_the_index_began_anew() -> None:
    """Another key, and an API whose index hides people at that moment: the reading by id finds them."""
    stage = Stage(*crowd(5_000), search_lag_ms=0)
    rows = addresses(range(5))
    before = stage.pull(*rows)
    assert len(before.contacts) == 5
    stage.key = "another key of the tests, long"
    # the filters find nobody but one, as of an index that flickers
    stage.transport.answers = lambda asked: empty_page() if asked.is_look_up and rows[0] not in asked.body else None
    again = stage.pull(*rows)
    assert again.contacts == before.contacts


@pytest.mark.slow
def test_a_contact_of_which_nothing_can_be_read_stays_while_the_index_knows_nothing_of_it() -> None:
    stage = Stage(*crowd(5_000), search_lag_ms=0)
    rows = addresses(range(5))
    before = stage.pull(*rows)
    stage.key = "another key of the tests, long"
    stage.transport.answers = lambda asked: (
        refuse(400, "something else")
        if asked.is_by_id
        else empty_page()
        if asked.is_look_up and rows[0] not in asked.body
        else None
    )
    assert stage.pull(*rows).contacts == before.contacts
    # proven gone, it leaves
    stage.transport.answers = lambda asked: None
    stage.world.delete(before.contacts[4], now=stage.clock.now())
    assert stage.pull(*rows).contacts == before.contacts[:4]


def empty_page() -> httpx.Response:
    return httpx.Response(200, content=b'{"contacts": [], "total": 0}')


def test_an_api_that_fails_for_good_is_told_as_that() -> None:
    stage = Stage(*crowd(5))
    stage.transport.answers = lambda asked: refuse(500, "down")
    with pytest.raises(InDoubt):
        stage.pull(*addresses(range(5)))
    assert stage.index.current == {}


def test_a_contact_that_cannot_be_read_by_id_is_not_proven_gone() -> None:
    stage = Stage(*crowd(20), search_lag_ms=0)
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.world.delete(name("c00004x"), now=stage.clock.now())
    stage.transport.answers = lambda asked: refuse(400, "something else") if asked.is_by_id else None
    pulled = stage.pull(*rows, full=True)
    assert name("c00004x") in pulled.contacts
    assert pulled.read.update.unproven == 1
