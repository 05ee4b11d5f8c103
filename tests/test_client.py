"""The client on the wire: what leaves, what each failure is called, and where the token never is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from reconciler.core.model.api_limits import Quota, read_quota
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    InDoubt,
    NotApplied,
    QuotaExhausted,
    ReconcilerError,
    RequestRefused,
    Unread,
)
from reconciler.core.model.names import ContactId, Instant, LocationId, parse_instant
from reconciler.core.model.outcome import Action, Rejection, ResponseRows
from reconciler.highlevel.client import HighLevel
from reconciler.highlevel.tokens import find_token
from reconciler.wire import BulkUpdate, ContactRead

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
ANNA, BERT = ContactId("Anna" * 5), ContactId("Bert" * 5)
TOKEN = "pit-5e94f7b5-secret-4b0e"
ORIGIN = "https://services.example"
UPDATE = BulkUpdate(Action.ADD, HERE, (ANNA, BERT), ("grün", "a"))
ROWS = b'{"responses": []}'

Answer = Callable[[httpx.Request], httpx.Response]


class Wire(httpx.AsyncBaseTransport):
    """Keeps what was sent; answers with what it is given, or raises it."""

    def __init__(self, *answers: httpx.Response | Exception | Answer) -> None:
        self.sent: list[httpx.Request] = []
        self._answers = list(answers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.sent.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer


class Broken(httpx.AsyncByteStream):
    """A body that ends before its end."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"responses": ['
        raise self._error


class Endless(httpx.AsyncByteStream):
    """A body of which nothing ever comes."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


def client(wire: Wire, *, base_url: str = ORIGIN, timeout_s: float = 60.0) -> HighLevel:
    return HighLevel(base_url, token=TOKEN, transport=wire, timeout_s=timeout_s)


def update(wire: Wire, **more: object) -> object:
    return asyncio.run(client(wire, **more).update_tags(UPDATE))  # type: ignore[arg-type]


def failure(answer: httpx.Response | Exception) -> ApiError:
    with pytest.raises(ApiError) as caught:
        update(Wire(answer))
    told = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in told + repr(caught.value) + caught.value.message + caught.value.hint
    assert caught.value.message.isprintable()
    # what the server said is cut; of a token that it refuses our own words follow
    assert len(caught.value.message) < 400
    return caught.value


def error(status: int, message: object = "no", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"statusCode": status, "message": message}, headers=headers)


@pytest.mark.parametrize("action", list(Action))
def test_a_bulk_request_byte_by_byte(action: Action) -> None:
    wire = Wire(httpx.Response(201, content=ROWS))
    asyncio.run(client(wire).update_tags(BulkUpdate(action, HERE, (ANNA, BERT), ("grün", 'a"b'))))
    (sent,) = wire.sent

    assert (sent.method, str(sent.url)) == ("POST", f"{ORIGIN}/contacts/bulk/tags/update/{action}")
    assert json.loads(sent.content) == {"contacts": [ANNA, BERT], "tags": ["grün", 'a"b'], "locationId": HERE}
    assert sent.content == (
        f'{{"contacts": ["{ANNA}", "{BERT}"], "tags": ["gr\\u00fcn", "a\\"b"], "locationId": "{HERE}"}}'.encode()
    )
    assert dict(sent.headers) == {
        "host": "services.example",
        "authorization": f"Bearer {TOKEN}",
        "version": "2021-07-28",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": str(len(sent.content)),
        "accept-encoding": sent.headers["accept-encoding"],
        "connection": "keep-alive",
        "user-agent": sent.headers["user-agent"],
    }


def test_reads_byte_by_byte() -> None:
    found = httpx.Response(200, json={"contact": {"id": ANNA, "locationId": HERE, "tags": []}})
    wire = Wire(
        found,
        httpx.Response(200, json={"contacts": [], "total": 0}),
        httpx.Response(200, json={"contacts": [], "total": 0}),
    )

    async def read() -> None:
        api = client(wire)
        await api.get_contact(ANNA)
        await api.search(HERE, None)
        await api.search(HERE, (1, "a"))

    asyncio.run(read())
    assert [(each.method, each.url.path) for each in wire.sent] == [
        ("GET", f"/contacts/{ANNA}"),
        ("POST", "/contacts/search"),
        ("POST", "/contacts/search"),
    ]
    assert wire.sent[0].content == b""
    assert json.loads(wire.sent[1].content) == {"locationId": HERE, "pageLimit": 500}
    assert json.loads(wire.sent[2].content) == {"locationId": HERE, "pageLimit": 500, "searchAfter": [1, "a"]}
    assert {each.headers["version"] for each in wire.sent} == {"2021-07-28"}


def test_cookies_of_the_server_are_not_sent_back() -> None:
    wire = Wire(httpx.Response(201, content=ROWS, headers={"Set-Cookie": "track=1"}), httpx.Response(201, content=ROWS))

    async def twice() -> None:
        api = client(wire)
        await api.update_tags(UPDATE)
        await api.update_tags(UPDATE)

    asyncio.run(twice())
    assert "cookie" not in wire.sent[1].headers


@pytest.mark.parametrize("base_url", [ORIGIN, ORIGIN + "/", ORIGIN + ":443"])
def test_the_token_goes_to_the_configured_origin(base_url: str) -> None:
    wire = Wire(httpx.Response(201, content=ROWS))
    update(wire, base_url=base_url)

    assert wire.sent[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "where", ["https://elsewhere.example/x", f"{ORIGIN}/contacts/upsert", "//elsewhere.example", ""]
)
def test_a_redirect_is_never_followed(status: int, where: str) -> None:
    wire = Wire(httpx.Response(status, headers={"Location": where}))
    with pytest.raises(RequestRefused) as caught:
        update(wire)

    assert caught.value.status == status
    assert len(wire.sent) == 1


def test_any_2xx_with_rows_is_an_answer() -> None:
    row = {
        "contactId": ANNA,
        "message": "Tags updated",
        "type": "success",
        "oldTags": [],
        "tagsAdded": ["a"],
        "tagsRemoved": [],
    }
    for status in (200, 201, 202, 207):
        rows = update(Wire(httpx.Response(status, json={"responses": [row]})))
        assert isinstance(rows, ResponseRows)
        assert [each.contact for each in rows] == [ANNA]


NOT_APPLIED = [
    httpx.ConnectError("[Errno 111] Connection refused"),
    httpx.ConnectError("[Errno -2] Name or service not known"),
    httpx.ConnectError(""),
    httpx.ConnectTimeout("timed out"),
    httpx.PoolTimeout("no connection"),
    httpx.ProxyError("403 Forbidden"),
    httpx.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol."),
]


@pytest.mark.parametrize("cause", NOT_APPLIED, ids=repr)
def test_what_never_reached_the_api_had_no_effect(cause: Exception) -> None:
    told = failure(cause)

    assert isinstance(told, NotApplied)
    assert "services.example" in told.message
    assert told.hint
    assert told.retry_after_ms is None


class StoodStill(Wire):
    """The process is stopped after the gate has let the request go, before its body leaves."""

    now = Instant(1_795_000_000_000)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.now = Instant(self.now + self.stood_ms)
        return await super().handle_async_request(request)

    def __init__(self, stood_ms: int) -> None:
        super().__init__(httpx.Response(200, content=ROWS))
        self.stood_ms = stood_ms


class StoodStillLater(StoodStill):
    """It is stopped when httpx has the body, and hands it over in the next turn of the loop."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for part in request.stream:
            self.now = Instant(self.now + self.stood_ms)
            await asyncio.sleep(0)
            assert part
        self.sent.append(request)
        return httpx.Response(200, content=ROWS)


@pytest.mark.parametrize(("stood_ms", "leaves"), [(59_000, True), (90_000, False)])
@pytest.mark.parametrize(("stands", "told"), [(StoodStill, NotApplied), (StoodStillLater, InDoubt)])
def test_a_process_that_stood_still_past_its_lease_sends_nothing_when_it_wakes_up(
    stands: type[StoodStill], told: type[ApiError], stood_ms: int, leaves: bool
) -> None:
    wire = stands(stood_ms)
    api = HighLevel(ORIGIN, token=TOKEN, transport=wire, now=lambda: wire.now)
    with contextlib.nullcontext() if leaves else pytest.raises(told, match="stood still for 90 s"):
        asyncio.run(api.update_tags(UPDATE))
    assert bool(wire.sent) is leaves


def test_a_request_that_was_let_go_before_the_process_stood_still_does_not_leave() -> None:
    wire = StoodStill(0)
    api = HighLevel(ORIGIN, token=TOKEN, transport=wire, now=lambda: wire.now)
    let_go = api.update_tags(UPDATE)
    wire.now = Instant(wire.now + 90_000)
    with pytest.raises(NotApplied, match="stood still for 90 s"):
        asyncio.run(let_go)
    assert wire.sent == []


IN_DOUBT: list[httpx.Response | Exception] = [
    httpx.ReadTimeout("timed out"),
    httpx.WriteTimeout("timed out"),
    httpx.ReadError("[Errno 104] Connection reset by peer"),
    httpx.WriteError("broken pipe"),
    httpx.CloseError(""),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    httpx.DecodingError("Error -3 while decompressing data"),
    httpx.Response(201, stream=Broken(httpx.RemoteProtocolError("peer closed connection"))),
    httpx.Response(201, stream=Broken(httpx.ReadTimeout("timed out"))),
    httpx.Response(201, content=b"<html>"),
    httpx.Response(201, content=b""),
    httpx.Response(204),
    httpx.Response(201, content=b"[]"),
    httpx.Response(201, content=b'{"responses": 7}'),
    httpx.Response(201, content=b'{"responses": [7]}'),
    httpx.Response(201, content=b'{"responses": [{"contactId": 7, "message": "", "type": ""}]}'),
    httpx.Response(201, content=b"[" * 100_000),
    httpx.Response(201, content=b'{"responses": []', headers={"Content-Type": "application/json"}),
    httpx.Response(201, content=b"\xff\xfe\x00"),
    httpx.Response(201, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip")),
    error(500),
    error(502),
    error(503),
    error(599),
    error(408),
]


@pytest.mark.parametrize("cause", IN_DOUBT, ids=repr)
def test_what_may_have_had_an_effect_is_in_doubt(cause: httpx.Response | Exception) -> None:
    assert isinstance(failure(cause), InDoubt)


def test_a_time_out_bounds_the_whole_request() -> None:
    with pytest.raises(InDoubt):
        update(Wire(httpx.Response(201, stream=Endless())), timeout_s=0.01)


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 422, 300, 304])
def test_a_refused_request(status: int) -> None:
    told = failure(error(status, ["tags must be an array", "contacts should not be empty"]))

    assert isinstance(told, RequestRefused)
    assert told.status == status
    assert "tags must be an array; contacts should not be empty" in told.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token(status: int) -> None:
    told = failure(error(status, "The token is not authorized for this scope."))

    assert isinstance(told, AuthRefused)
    assert told.exit_code == 7
    assert str(status) in told.message
    assert "not authorized for this scope" in told.message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7_000),
        ("0", 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٧", None),
        ("99999999999999999999", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 60_000),
        ("Wed, 21 Oct 2026 07:26:59 GMT", 0),
        ("Thu, 22 Oct 2026 07:28:00 GMT", 3_600_000),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
        ("9999", 3_600_000),
    ],
)
def test_too_many_requests(header: str | None, expected: int | None) -> None:
    headers = [(b"Date", b"Wed, 21 Oct 2026 07:27:00 GMT")]
    headers += [] if header is None else [(b"Retry-After", header.encode())]
    told = failure(httpx.Response(429, headers=headers, json={"message": "Too Many Requests"}))

    assert isinstance(told, NotApplied)
    assert told.retry_after_ms == expected


def test_a_date_to_try_again_at_without_the_servers_own_clock() -> None:
    answer = error(429, **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    told = parse_instant("2026-10-21T07:27:50Z")
    api = HighLevel(ORIGIN, token=TOKEN, transport=Wire(answer), now=lambda: told)
    with pytest.raises(NotApplied) as caught:
        asyncio.run(api.update_tags(UPDATE))
    assert caught.value.retry_after_ms == 10_000


LIMITS = {
    "X-RateLimit-Limit-Daily": "200000",
    "X-RateLimit-Daily-Remaining": "199000",
    "X-RateLimit-Interval-Milliseconds": "10000",
    "X-RateLimit-Max": "100",
    "x-ratelimit-remaining": "98",
    "X-RateLimit-Daily-Reset": "86000000",
}


@pytest.mark.parametrize("status", [201, 400, 401, 422, 429, 500])
def test_every_answer_tells_of_the_limits(status: int) -> None:
    heard: list[Quota] = []
    wire = Wire(httpx.Response(status, content=ROWS, headers=LIMITS))
    with contextlib.suppress(ApiError):
        asyncio.run(HighLevel(ORIGIN, token=TOKEN, transport=wire, on_quota=heard.append).update_tags(UPDATE))
    assert heard == [Quota(100, 98, 10_000, 200_000, 199_000, 86_000_000)]


@pytest.mark.parametrize(
    "value", ["", "-1", "1.5", "1e3", "many", "٧", "100, 100", "0x10", "9" * 30, "99999999999999", "\x00"]
)
def test_limits_that_make_no_sense_say_nothing(value: str) -> None:
    assert read_quota(dict.fromkeys(LIMITS, value)) == Quota()


def test_a_limit_given_twice_or_contradicting_says_nothing() -> None:
    twice = httpx.Headers([("X-RateLimit-Max", "100"), ("x-ratelimit-max", "25"), ("X-RateLimit-Remaining", "7")])
    assert read_quota(twice) == Quota(remaining=7)
    assert read_quota({"X-RateLimit-Max": "0", "X-RateLimit-Interval-Milliseconds": "0"}) == Quota()
    assert read_quota({"X-RateLimit-Max": "25", "X-RateLimit-Remaining": "26"}) == Quota(limit=25)


def test_a_day_that_is_used_up_is_told_apart() -> None:
    used_up = LIMITS | {"X-RateLimit-Daily-Remaining": "0", "X-RateLimit-Daily-Reset": "60000"}
    now = parse_instant("2026-11-26T10:00:00Z")
    api = HighLevel(ORIGIN, token=TOKEN, transport=Wire(error(429, **used_up)), now=lambda: now)
    with pytest.raises(QuotaExhausted) as caught:
        asyncio.run(api.update_tags(UPDATE))
    assert caught.value.exit_code == 8
    assert caught.value.resets == now + 60_000
    assert "2026-11-26T10:01:00" in caught.value.message
    assert "--quota-spill" in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        f"token {TOKEN} is bad",
        pytest.param("x" * 100_000, id="long"),
        pytest.param("\x1b[2J\x1b]0;owned\x07 \u202e reversed \x00", id="control characters"),
        pytest.param("::error::stop\n::add-mask::x", id="workflow commands"),
        ["a", 7, None, {"b": TOKEN}],
        {"nested": TOKEN},
        7,
        None,
        pytest.param("\ud800", id="half a surrogate pair"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_what_the_server_says_is_one_short_printable_line(status: int, said: object) -> None:
    failure(httpx.Response(status, content=json.dumps({"message": said}).encode()))


@pytest.mark.parametrize("body", [b"", b"\xff", b"<html>" * 9_000, b"[]", b"[" * 100_000, TOKEN.encode()])
def test_an_error_without_a_readable_body(body: bytes) -> None:
    assert "services.example answered 500" in failure(httpx.Response(500, content=body)).message


def test_an_exception_that_holds_the_token_is_told_without_it() -> None:
    for kind in (httpx.ConnectError, httpx.ReadError, httpx.LocalProtocolError):
        failure(kind(f"cannot send Bearer {TOKEN}\x1b[2J"))


def test_the_token_is_in_no_repr() -> None:
    api = client(Wire())
    inner = api._connection._http._client
    for text in (repr(api), str(api), repr(inner), repr(inner.auth), repr(vars(inner).keys())):
        assert TOKEN not in text


def read(wire: Wire, contact: ContactId = ANNA) -> ContactRead | Rejection:
    return asyncio.run(client(wire).get_contact(contact))


@pytest.mark.parametrize("status", [400, 404, 410, 422, 500])
def test_a_contact_is_gone_by_what_the_api_says_of_it_whatever_the_status(status: int) -> None:
    assert read(Wire(error(status, "Contact not found"))) is Rejection.DELETED
    assert read(Wire(error(status, ["contact id is not a valid firebase id"]))) is Rejection.INVALID


def test_a_contact_of_another_location_is_told_by_its_403() -> None:
    assert read(Wire(error(403, "The token does not have access to this location."))) is Rejection.FOREIGN
    with pytest.raises(AuthRefused):
        read(Wire(error(403, "Forbidden")))
    with pytest.raises(AuthRefused):
        read(Wire(error(401, "The token does not have access to this location.")))


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 422])
@pytest.mark.parametrize(
    "body", [b"<html>Contact not found</html>", b"", b'{"message": "Bad Request"}', b'"Not found"']
)
def test_any_other_4xx_to_a_read_is_a_fault_that_may_pass(status: int, body: bytes) -> None:
    with pytest.raises(InDoubt):
        read(Wire(httpx.Response(status, content=body)))


def test_an_answer_about_another_contact_is_no_reading() -> None:
    shown = {"id": BERT, "locationId": HERE, "tags": ["a"]}
    with pytest.raises(Unread) as caught:
        read(Wire(httpx.Response(200, json={"contact": shown})))

    assert f"answered as {BERT}: merged?" in caught.value.message


def test_an_id_that_is_no_id_is_told_in_one_short_line() -> None:
    shown = {"id": f"\x1b[2J{TOKEN}" + "x" * 160, "locationId": HERE, "tags": ["a"]}
    with pytest.raises(Unread) as caught:
        read(Wire(httpx.Response(200, json={"contact": shown})))

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize("contact", ["", "a/b", "..", "a?b", "a#b", "ünï", "a b", "a%2fb", "a\nb"])
def test_an_id_that_no_path_can_carry_is_not_asked_for(contact: str) -> None:
    wire = Wire()
    assert read(wire, ContactId(contact)) is Rejection.INVALID
    assert wire.sent == []


@pytest.mark.parametrize("said", ["x" * 100_000, "\x1b[2J\nowned", "\ud800", f"seen {TOKEN}"])
def test_the_message_of_a_row_is_short_and_printable(said: str) -> None:
    body = json.dumps({"responses": [{"contactId": ANNA, "type": "error", "message": said}]}).encode()
    rows = update(Wire(httpx.Response(201, content=body)))

    assert isinstance(rows, ResponseRows)
    assert rows[0].message.isprintable()
    assert len(rows[0].message) <= 200


def test_tags_that_are_no_text_are_unknown() -> None:
    body = b'{"responses": [{"contactId": "a", "type": "success", "message": "", "oldTags": ["\\ud800"]}]}'
    rows = update(Wire(httpx.Response(201, content=body)))

    assert isinstance(rows, ResponseRows)
    assert rows[0].old is None


def refused(environment: dict[str, str], **more: object) -> AuthRefused:
    with pytest.raises(AuthRefused) as caught:
        find_token(HERE, environment, **more)  # type: ignore[arg-type]
    assert caught.value.exit_code == 7
    assert caught.value.hint
    assert TOKEN not in "".join(traceback.format_exception(caught.value)) + caught.value.hint
    return caught.value


@pytest.mark.parametrize("value", [TOKEN, f" {TOKEN}\n", f"{TOKEN}\r\n", f"\t{TOKEN}"])
def test_a_token_from_the_environment(value: str) -> None:
    assert find_token(HERE, {"HIGHLEVEL_TOKEN": value}) == TOKEN
    assert find_token(HERE, {"OTHER": value, "HIGHLEVEL_TOKEN": "x"}, variable="OTHER") == TOKEN


@pytest.mark.parametrize("environment", [{}, {"HIGHLEVEL_TOKEN": ""}, {"HIGHLEVEL_TOKEN": " \n"}, {"OTHER": TOKEN}])
def test_no_token(environment: dict[str, str]) -> None:
    told = refused(environment)

    assert HERE in told.message
    assert "HIGHLEVEL_TOKEN" in told.message


def test_the_variable_that_is_missing_is_named() -> None:
    assert "ACME_TOKEN" in refused({"HIGHLEVEL_TOKEN": TOKEN}, variable="ACME_TOKEN").message


@pytest.mark.parametrize("tail", ["\nX-Evil: 1", f" {TOKEN}", "\x00", "é", "\x7fa"])
def test_a_token_that_no_header_can_carry(tail: str) -> None:
    assert "HIGHLEVEL_TOKEN" in refused({"HIGHLEVEL_TOKEN": TOKEN + tail}).message


@pytest.mark.parametrize("word", ["Bearer", "bearer"])
def test_a_token_with_the_word_of_its_header(word: str) -> None:
    assert "begins with the word Bearer" in refused({"HIGHLEVEL_TOKEN": f"{word} {TOKEN}"}).message


def test_a_token_from_a_command() -> None:
    assert find_token(HERE, {}, command=f"printf '{TOKEN}\\n'") == TOKEN


def test_the_environment_comes_before_the_command() -> None:
    assert find_token(HERE, {"HIGHLEVEL_TOKEN": TOKEN}, command="false") == TOKEN


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"sh -c 'echo {TOKEN}; echo {TOKEN} >&2; exit 3'", "exit code 3"),
        ("no-such-program-anywhere --token", "FileNotFoundError"),
        ("echo 'unbalanced", "ValueError"),
        ("true", "nothing"),
        ("printf '\\377'", "token_command"),
        ("/", "PermissionError"),
    ],
)
def test_a_command_that_gives_no_token(command: str, told: str) -> None:
    message = refused({}, command=command).message

    assert "token_command" in message
    assert told in message


def test_a_command_that_takes_too_long() -> None:
    assert "TimeoutExpired" in refused({}, command="sleep 60", timeout_s=0.05).message


def test_a_command_does_not_go_through_a_shell() -> None:
    assert find_token(HERE, {}, command="echo $HOME;id") == "$HOME;id"


def test_every_failure_is_one_of_ours() -> None:
    causes = [*NOT_APPLIED, *IN_DOUBT, error(400), error(401), error(429), error(307)]
    assert all(isinstance(failure(each), ReconcilerError) for each in causes if isinstance(each, Exception))
