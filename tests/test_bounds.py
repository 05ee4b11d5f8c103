"""What comes from outside is bounded: bodies, pages, texts; and no token in it is kept."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.core.formats.plan_json import plan_document, read_plan
from reconciler.core.model.errors import InDoubt, NotApplied, PlanFileError, RequestRefused
from reconciler.core.model.names import ContactId
from reconciler.core.observing.refresh_rules import Scan
from reconciler.highlevel import connect_reader
from reconciler.highlevel.client import HighLevel
from reconciler.highlevel.http_client import MOST_BODY
from reconciler.highlevel.tokens import without
from reconciler.planfile import MOST_BYTES, load_plan
from reconciler.wire import UnreadableAnswer, read_contact, read_page
from tests.core.test_document import sealed, small_plan
from tests.fakes import a_gate
from tests.test_client import ANNA, HERE, ORIGIN, ROWS, TOKEN, Wire, client, error, read, update

MB = 1024 * 1024


class Pieces(httpx.AsyncByteStream):
    """A body in pieces; `taken` of them were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


def blanks(size: int, *, piece: int = 64 * 1024) -> Iterator[bytes]:
    return (b" " * piece for _ in range(size // piece))


def packed(size: int, *, piece: int = 8 * 1024) -> Iterator[bytes]:
    """So many blanks packed into a thousandth, in pieces as they come from a network."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    found = b"".join(packer.compress(each) for each in blanks(size, piece=MB)) + packer.flush()
    return (found[start : start + piece] for start in range(0, len(found), piece))


def streamed(pieces: Iterator[bytes], status: int = 200, **headers: str) -> tuple[httpx.Response, Pieces]:
    stream = Pieces(pieces)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=stream), stream


def test_a_body_that_never_ends_is_left_when_it_is_too_large() -> None:
    response, stream = streamed(blanks(1024 * MB))
    with pytest.raises(InDoubt, match="larger than 64 MB"):
        update(Wire(response))
    assert stream.taken <= MOST_BODY // (64 * 1024) + 1


@pytest.mark.slow
def test_what_unpacks_to_too_much_is_left_when_it_is() -> None:
    response, stream = streamed(packed(512 * MB), content_encoding="gzip")
    with pytest.raises(InDoubt, match="larger than 64 MB"):
        read(Wire(response))
    # an eighth of it was asked for
    assert stream.taken <= 10


@pytest.mark.slow
def test_a_body_of_the_largest_size_is_taken() -> None:
    body = ROWS + b" " * (MOST_BODY - len(ROWS))
    response, _ = streamed(iter([gzip.compress(body, 1)]), 201, content_encoding="gzip")

    assert list(update(Wire(response))) == []


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "deflate", "no\x1b[2J"])
def test_what_is_packed_otherwise_than_was_asked_for_is_not_unpacked(encoding: str) -> None:
    response, stream = streamed(iter([gzip.compress(gzip.compress(ROWS))]), content_encoding=encoding)
    with pytest.raises(InDoubt, match="packed in a way that was not asked for"):
        update(Wire(response))
    assert stream.taken == 0


@pytest.mark.parametrize(
    "body", [b"no gzip at all", gzip.compress(ROWS)[:-3], gzip.compress(ROWS)[:5]], ids=("none", "cut", "begun")
)
def test_what_cannot_be_unpacked_is_in_doubt(body: bytes) -> None:
    response, _ = streamed(iter([body]), content_encoding="gzip")
    with pytest.raises(InDoubt, match="cannot be read: it"):
        update(Wire(response))


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("status", "raised"), [(400, RequestRefused), (429, NotApplied), (503, InDoubt)])
def test_an_error_with_too_large_a_body_is_what_its_status_says(status: int, raised: type[Exception]) -> None:
    response, _ = streamed(blanks(1024 * MB), status)
    with pytest.raises(raised, match=f"answered {status}: it is larger than 64 MB"):
        update(Wire(response))


def test_gzip_is_asked_for_and_read() -> None:
    row = {"contactId": ANNA, "message": "Tags updated", "type": "success", "oldTags": []}
    response, _ = streamed(iter([gzip.compress(json.dumps({"responses": [row]}).encode())]), content_encoding="gzip")
    wire = Wire(response)
    (found,) = update(wire)  # type: ignore[misc]

    assert (found.contact, wire.sent[0].headers["accept-encoding"]) == (ANNA, "gzip")


@pytest.mark.slow
def test_doctor_reads_no_more_than_that_either() -> None:
    response, stream = streamed(packed(512 * MB), content_encoding="gzip")
    wire = Wire(response, error(403, f"no {TOKEN}"))
    found, other = asyncio.run(connect_reader(ORIGIN, token=TOKEN, transport=wire).probe(a_gate(HERE)))

    assert "larger than 64 MB" in str(found.problem)
    assert "answered 403" in str(other.problem)
    assert stream.taken <= 10
    assert TOKEN not in str(other.problem)


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in TOKEN)


@pytest.mark.parametrize("spelt", [TOKEN, ESCAPED, f"seen Bearer {TOKEN}, and more of it", "x" * 190 + TOKEN])
def test_no_token_is_kept_of_the_rows_of_an_answer(spelt: str) -> None:
    row = f'{{"contactId": "{ANNA}", "message": "{spelt}", "type": "error", "oldTags": ["{spelt}"]}}'
    (found,) = update(Wire(httpx.Response(201, content=f'{{"responses": [{row}]}}')))  # type: ignore[misc]

    assert "***" in found.message
    assert all(part not in found.message + "".join(found.old) for part in (TOKEN, TOKEN[:8]))


def test_no_token_is_kept_of_a_row_in_a_text() -> None:
    row = json.dumps({"contactId": ANNA, "message": f"seen {TOKEN}", "type": "error"})
    (found,) = update(Wire(httpx.Response(201, json={"responses": [row]})))  # type: ignore[misc]

    assert found.message == "seen ***"


def test_no_token_is_kept_of_what_is_read() -> None:
    shown = {"id": ANNA, "locationId": HERE, "tags": [f"tag {TOKEN}"]}
    found = read(Wire(httpx.Response(200, json={"contact": shown})))
    page = asyncio.run(client(Wire(httpx.Response(200, json={"contacts": [shown], "total": 1}))).search(HERE, None))

    assert TOKEN not in repr(found) + repr(page)


def test_what_holds_a_token_and_is_no_json_is_nothing() -> None:
    assert without([TOKEN], b"<html>" + TOKEN.encode()) == b""
    deep = b"[" * 100_000 + TOKEN.encode()
    assert without([TOKEN], deep) == b""
    assert without([TOKEN], b"<html>\\u0041") == b"<html>\\u0041"


def test_no_token_is_kept_that_is_spelt_twice_over() -> None:
    row = f'{{"contactId": "{ANNA}", "message": "seen {ESCAPED}", "type": "error"}}'
    (found,) = update(Wire(httpx.Response(201, json={"responses": [row]})))  # type: ignore[misc]

    assert found.message == "seen ***"


def test_a_short_token_changes_no_tag() -> None:
    shown = {"id": ANNA, "locationId": HERE, "tags": ["gold"]}
    api = HighLevel(ORIGIN, token="gold", transport=Wire(httpx.Response(200, json={"contact": shown})))
    found = asyncio.run(api.get_contact(ANNA))

    assert getattr(found, "tags", None) == {"gold"}


@pytest.mark.parametrize("length", [0, 201, 1_000_000])
def test_an_id_is_of_sensible_length(length: int) -> None:
    shown = {"id": "a" * length, "locationId": HERE, "tags": [], "searchAfter": [1]}
    with pytest.raises(InDoubt, match="`id` has"):
        asyncio.run(client(Wire(httpx.Response(200, json={"contacts": [shown], "total": 1}))).search(HERE, None))


def test_a_tag_beyond_any_length_is_unknown() -> None:
    assert read_contact(b'{"contact": {"id": "a", "tags": ["%s"]}}' % (b"x" * 10_001)).tags is None
    assert read_contact(b'{"contact": {"id": "a", "tags": ["%s"]}}' % (b"x" * 10_000)).tags == {"x" * 10_000}


@pytest.mark.parametrize("after", [[[1]], [{"a": 1}], list(range(11)), ["x" * 10_001]])
@pytest.mark.parametrize("total", [1])
def test_a_cursor_is_a_short_list_of_plain_values(after: list[object], total: object) -> None:
    with pytest.raises(UnreadableAnswer, match="searchAfter"):
        read_page(json.dumps({"contacts": [{"id": "a", "searchAfter": after}], "total": total}).encode())


@pytest.mark.parametrize("total", [-1, True, 1.5, "7", None])
def test_a_total_is_a_count(total: object) -> None:
    with pytest.raises(UnreadableAnswer, match="total"):
        read_page(json.dumps({"contacts": [], "total": total}).encode())


def a_page(scan: Scan, number: int, *, rows: int = 2, total: int = 10) -> None:
    contacts = [(ContactId(f"{number}-{row}"), HERE) for row in range(rows)]
    scan.add_page(contacts, total, (number,))


def pages_until_the_end(scan: Scan, **more: int) -> int:
    return next(number for number in range(1, 1_000) if a_page(scan, number, **more) or scan.ended)


@pytest.mark.parametrize(("rows", "total", "pages"), [(2, 10, 12), (500, 700, 6), (1, 0, 2), (3, 1, 4)])
def test_a_search_that_never_ends_is_ended(rows: int, total: int, pages: int) -> None:
    scan = Scan(HERE)

    assert pages_until_the_end(scan, rows=rows, total=total) == pages
    assert f"it went on after {pages} pages" in scan.why_incomplete


def test_a_search_is_complete_at_its_last_page_and_not_before() -> None:
    scan = Scan(HERE)
    assert scan.why_incomplete == "it did not come to its end"
    a_page(scan, 1, total=2)
    assert scan.why_incomplete == "it did not come to its end"
    scan.add_page([], 2, None)
    assert scan.why_incomplete == ""


def test_a_plan_file_beyond_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(PlanFileError, match="larger than 512 MB"):
        load_plan(path)


def test_a_text_of_a_plan_beyond_any_length_is_refused() -> None:
    document = plan_document(small_plan())
    document["manifests"] = "m" * 10_001
    with pytest.raises(PlanFileError, match="a text of 10,001 characters"):
        read_plan(sealed(document))
