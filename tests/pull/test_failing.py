"""What goes wrong outside: refusals, limits, lost answers. No error of a look-up repeats what was looked for."""

from __future__ import annotations

import httpx
import pytest

from reconciler.core.model.errors import ApiError, AuthRefused, ExitCode, InDoubt
from reconciler.sandbox.app import Access
from tests.build import contact, name, person
from tests.pull.stage import EMAIL, NUMBER, PHONE, Stage, refuse
from tests.pull.test_index import addresses, crowd
from tests.sandbox.faults import Fault, FaultKind, FaultPlan

PASSING = (FaultKind.TOO_MANY, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.RESET_AFTER,
           FaultKind.ERROR_BEFORE, FaultKind.TRUNCATED, FaultKind.REFUSED)  # fmt: skip


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


ECHOES = [
    "no contact with {} here",
    "x" * 170 + " no contact with {} here",
    "{}",
]


@pytest.mark.parametrize("echo", ECHOES)
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
    echo: str, status: int, keys: object, value: str, secret: str
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
        return refuse(status, echo.format(sent))

    stage.transport.answers = answer
    with pytest.raises(ApiError) as failed:
        stage.pull(value, keys=keys)  # type: ignore[arg-type]
    error = failed.value
    told = repr(error) + "".join((*error.lines, *error.hints, *error.said, repr(error.args), str(error.__cause__)))
    assert secret not in told.lower()
    assert "answered" in told


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
