"""An agency's token exchanged for location tokens: when, how often, and that no byte of any token is ever told."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from reconciler.core.model.errors import ApiError, AuthRefused, InDoubt, NotApplied
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.model.outcome import Action, ResponseRow
from reconciler.highlevel.client import HighLevel
from reconciler.highlevel.tokens import Agency, location_token_body, read_location_token
from reconciler.sandbox.access import SandboxAgency as Emulated
from reconciler.sandbox.app import SCOPES, App
from reconciler.wire import BulkUpdate, UnreadableAnswer
from tests.build import HERE
from tests.fakes import FakeClock
from tests.sandbox.builders import ANNA, BERT, a_world
from tests.sandbox.transport import SandboxTransport

AGENCY_TOKEN, COMPANY = "agency-5e94f7b5-secret", "ve9EPM428h8vShlRW1KT"
UPDATE = BulkUpdate(Action.ADD, HERE, (ANNA, BERT), ("x",))


@dataclass
class TokenPlace(httpx.AsyncBaseTransport):
    """The client and an emulated agency; `asked` keeps the paths, `bearers` the tokens that came."""

    company: str = COMPANY
    token_s: int = 86_399
    revokes: bool = False
    assumptions: dict[str, Any] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    asked: list[str] = field(default_factory=list)
    bearers: list[str] = field(default_factory=list)
    answers: dict[str, httpx.Response | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world = a_world(location_token_s=self.token_s, exchange_revokes=self.revokes, **self.assumptions)
        self.app = App(world, accesses=(), agency=Emulated(AGENCY_TOKEN, COMPANY, SCOPES))
        self.inner = SandboxTransport(self.app, now=self.clock.now)
        self.api = HighLevel(
            "https://api.example",
            token=AGENCY_TOKEN,
            agency=Agency(self.company, HERE),
            transport=self,
            now=self.clock.now,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        self.bearers.append(request.headers["authorization"].removeprefix("Bearer "))
        if (answer := self.answers.get(request.url.path)) is not None:
            if isinstance(answer, Exception):
                raise answer
            return answer
        return await self.inner.handle_async_request(request)

    def update(self) -> tuple[ResponseRow, ...]:
        return asyncio.run(self.api.update_tags(UPDATE))

    def revoke(self) -> None:
        assert self.app.exchange is not None
        self.app.exchange.revoke()

    def failure(self) -> ApiError:
        with pytest.raises(ApiError) as caught:
            self.update()
        connection = self.api._connection
        told = "".join(traceback.format_exception(caught.value)) + caught.value.hint
        told += repr(self.api) + repr(connection) + repr(connection._exchange)
        assert [token for token in self.secrets() if token in told] == []
        return caught.value

    def secrets(self) -> set[str]:
        assert self.app.exchange is not None
        return {AGENCY_TOKEN, *self.app.exchange.issued}

    @property
    def exchanges(self) -> int:
        return self.asked.count("/oauth/locationToken")


def test_a_token_is_exchanged_once_and_the_agencys_own_sent_nowhere_else() -> None:
    scene = TokenPlace()
    assert len(scene.update()) == 2
    scene.update()
    assert scene.exchanges == 1
    agency, *others = scene.bearers
    assert agency == AGENCY_TOKEN
    assert AGENCY_TOKEN not in others
    assert len(set(others)) == 1


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("camel", [False, True])
def test_whatever_the_answer_to_an_exchange_is_spelt_like(status: int, camel: bool) -> None:
    scene = TokenPlace(token_s=600, assumptions={"exchange_status": status, "exchange_in_camel_case": camel})
    assert len(scene.update()) == 2
    scene.clock.ms += 530_000
    scene.update()
    assert scene.exchanges == 1
    # the time that it lasts is read too
    scene.clock.ms += 20_000
    scene.update()
    assert scene.exchanges == 2


def test_requests_at_the_same_time_share_one_exchange() -> None:
    scene = TokenPlace()

    async def several() -> None:
        await asyncio.gather(*(scene.api.update_tags(UPDATE) for _ in range(20)))

    asyncio.run(several())
    assert (scene.exchanges, len(scene.asked)) == (1, 21)


def test_a_token_is_exchanged_again_before_it_ends() -> None:
    scene = TokenPlace(token_s=600)
    scene.update()
    scene.clock.ms += 539_000
    scene.update()
    assert scene.exchanges == 1
    scene.clock.ms += 1_000
    scene.update()
    assert scene.exchanges == 2
    assert scene.asked.count("/contacts/bulk/tags/update/add") == 3


def test_a_token_that_is_refused_in_the_midst_is_exchanged_once_and_the_reads_sent_again() -> None:
    scene = TokenPlace()
    scene.update()
    scene.revoke()

    async def several() -> None:
        await asyncio.gather(*(scene.api.get_contact(ANNA) for _ in range(5)))

    asyncio.run(several())
    assert scene.exchanges == 2


def test_a_write_is_sent_again_by_its_sender_alone() -> None:
    """Its doubt is dated from when it left: an exchange that takes a minute would make it look a minute older."""
    scene = TokenPlace()
    scene.update()
    scene.revoke()
    told = scene.failure()
    assert isinstance(told, NotApplied)
    assert (scene.exchanges, scene.asked.count("/contacts/bulk/tags/update/add")) == (2, 2)
    assert scene.update()


def test_an_exchange_that_ends_earlier_tokens_does_not_go_on_for_ever() -> None:
    scene = TokenPlace(revokes=True)
    scene.update()
    scene.update()
    assert scene.exchanges == 1


def test_a_refusal_that_a_new_token_does_not_help_is_told() -> None:
    scene = TokenPlace(answers={"/contacts/bulk/tags/update/add": httpx.Response(401, json={"message": "no scope"})})
    assert isinstance(scene.failure(), NotApplied)
    told = scene.failure()
    assert isinstance(told, AuthRefused)
    assert "no scope" in told.message
    assert (scene.exchanges, len(scene.asked)) == (2, 4)


def test_another_agency_is_refused() -> None:
    told = TokenPlace(company="another").failure()
    assert isinstance(told, AuthRefused)
    assert told.exit_code == 7
    assert HERE in told.message
    assert "company_id" in told.hint
    assert "oauth.write" in told.hint


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(200, content=b"{"),
        httpx.Response(200, json={"access_token": f"two words {AGENCY_TOKEN}"}),
        httpx.ReadTimeout(f"no answer to {AGENCY_TOKEN}"),
        httpx.ConnectError("refused"),
    ],
    ids=repr,
)
def test_what_was_not_exchanged_was_not_sent(answer: httpx.Response | Exception) -> None:
    scene = TokenPlace(answers={"/oauth/locationToken": answer})
    assert isinstance(scene.failure(), NotApplied)
    assert scene.asked == ["/oauth/locationToken"]
    assert scene.app.world.transitions == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_an_exchange_refused_for_good(status: int) -> None:
    scene = TokenPlace(answers={"/oauth/locationToken": httpx.Response(status, json={"message": f"no {AGENCY_TOKEN}"})})
    told = scene.failure()
    assert isinstance(told, AuthRefused)
    assert "***" in told.message


def test_a_token_of_another_location_is_not_used() -> None:
    other = {"access_token": "location-token-x", "locationId": "elsewhere"}
    scene = TokenPlace(answers={"/oauth/locationToken": httpx.Response(200, json=other)})
    assert isinstance(scene.failure(), AuthRefused)
    assert len(scene.asked) == 1


def test_a_location_token_is_cut_out_of_what_the_server_says() -> None:
    scene = TokenPlace()
    scene.update()
    (location_token,) = scene.secrets() - {AGENCY_TOKEN}
    scene.answers["/contacts/bulk/tags/update/add"] = httpx.Response(503, json={"message": f"bad {location_token}"})
    told = scene.failure()
    assert isinstance(told, InDoubt)
    assert "bad ***" in told.message


@pytest.mark.parametrize("text", ["", "a b", "a&locationId=b", "ü", "a/b", "a%26"])
def test_an_id_that_a_form_cannot_carry_is_not_sent(text: str) -> None:
    with pytest.raises(ValueError, match="cannot carry"):
        location_token_body(text, HERE)
    with pytest.raises(ValueError, match="cannot carry"):
        location_token_body(COMPANY, LocationId(text))


@pytest.mark.parametrize(
    "lasts", [b"null", b"-1", b"0", b"true", b'"3"', b"1e300", b"NaN", b"99999999999"], ids=lambda text: text.decode()
)
def test_an_end_that_makes_no_sense_is_unknown(lasts: bytes) -> None:
    found = read_location_token(b'{"access_token": "t", "expires_in": %b}' % lasts)
    assert (found.lasts_ms, found.location) == (None, None)
    assert "t" not in repr(found).replace("LocationToken", "").replace("lasts_ms", "").replace("location", "")


@pytest.mark.parametrize("token", ["", "a b", "a\\nb", "\\u00e9", "\\u0000"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(UnreadableAnswer):
        read_location_token(f'{{"access_token": "{token}"}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": null, "accessToken": "t", "expires_in": null, "expiresIn": 60}',
        b'{"access_token": "t", "accessToken": null, "expires_in": 60, "expiresIn": null}',
    ],
)
def test_the_spelling_of_a_key_that_holds_something_counts(body: bytes) -> None:
    found = read_location_token(body)
    assert (found.token, found.lasts_ms) == ("t", 60_000)


def test_reading_goes_by_the_location_token_too() -> None:
    scene = TokenPlace()
    found = asyncio.run(scene.api.get_contact(ContactId(ANNA)))
    assert found is not None
    assert scene.bearers[1] != AGENCY_TOKEN
    assert scene.clock.now() == Instant(scene.clock.ms)
