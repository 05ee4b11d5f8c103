"""reconciler against a mock of the vendor's OpenAPI files: plan, apply, refresh, drift, pull and doctor.

The mock judges every request by the files, and answers with their examples. What differs, in a request, in an answer,
or in how a command ends, is a listed exception with its reason. `pytest --vendor=DIR -m servers`, with npm's Prism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cli import run
from tests.contract.exceptions import compare, exceptions
from tests.contract.mock import Mock, mocking
from tests.contract.vendor_api import USED, VERSIONS, only_used, vendor_document
from tests.fakes import directory_in_memory

pytestmark = pytest.mark.servers

LOCATION = "ve9EPM428h8vShlRW1KT"
"""That of the examples, as are the contacts."""
TAGS = f"""\
location: {LOCATION}
contact_sets:
  bulk: {{contacts: [qFSqySFkVvNzOSqgGqFi, abcdef, 3ualbhnV7j3n3a9r2moD], tags: [tag-1]}}
  read: {{contacts: [seD4PfOuKoVMLkEZqohJ], tags: [consequat]}}
"""
PEOPLE = f"""\
location: {LOCATION}
contact_sets:
  field: {{contacts: {{file: people.csv, match: {{field: pincode, column: number}}}}, tags: [tag-1]}}
"""
COMMANDS = {
    "doctor": f"doctor --location {LOCATION}",
    "plan": "plan --refresh get --out plan.json",
    "apply": "apply plan.json --auto-approve",
    "plan again": "plan --retry-held --retry-rejected",
    "refresh by get": "refresh --method get",
    "refresh by search": "refresh --method search",
    "drift": "drift --refresh get",
    "pull": "pull people",
    "doctor with an agency's token": f"doctor --location {LOCATION} --api-company-id ve9EPM428h8vShlRW1KT",
    "history": "history",
}
NOT_ASKED = {"GET /contacts/search/duplicate"}
"""Only where a search finds nobody by an address, and no search is described."""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def started(version: str, vendor: Path) -> Iterator[Mock]:
    """One for all tests of a version: it takes its time to begin."""
    with directory_in_memory() as directory, mocking(only_used(vendor_document(vendor, version)), directory) as mock:
        yield mock


@pytest.fixture
def mock(started: Mock, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The mock, and a directory to work in with an environment that points to it."""
    started.asked.clear()
    started.differences.clear()
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "RECONCILER_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECONCILER_API_BASE_URL", started.url)
    monkeypatch.setenv("RECONCILER_API_VERSION", version)
    monkeypatch.setenv("RECONCILER_API_SETTLE_S", "1")
    monkeypatch.setenv("HIGHLEVEL_TOKEN", "pit-of-nobody-in-particular")
    return started


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    def ask(line: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run(line.split())
        said = capfd.readouterr()
        return code, " ".join((said.out + said.err).split())

    return ask


def test_what_differs_from_the_vendors_own_words_is_listed(
    mock: Mock, version: str, tell: Callable[[str], tuple[int, str]], tmp_path: Path
) -> None:
    for name, text in {"manifests/a.yaml": TAGS, "people/a.yaml": PEOPLE, "people/people.csv": "number\n7\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = {entry["run"]: (entry["code"], entry["says"]) for entry in exceptions("command", version)}
    ended = {name: tell(line) for name, line in COMMANDS.items()}

    surprising = {
        name: (code, told)
        for name, (code, told) in ended.items()
        for expected_code, words in [expected.get(name, (0, ""))]
        if code != expected_code or words not in told
    }
    assert surprising == {}
    assert expected.keys() <= COMMANDS.keys()
    listed = {(entry["operation"], entry["differs"]) for entry in exceptions("wire", version)}
    assert compare(mock.differences, listed) == []
    assert mock.asked == {f"{method.upper()} {path}" for path, method in USED.items()} - NOT_ASKED


def test_every_exception_has_a_reason() -> None:
    for kind in ("wire", "command", "sandbox"):
        assert all(len(entry["reason"]) > 20 for version in VERSIONS for entry in exceptions(kind, version))


def test_a_request_that_the_files_do_not_allow_is_noticed(mock: Mock, version: str) -> None:
    """The mock does judge: a body without a location, no version, a path that there is not."""
    headers = {"content-type": "application/json", "version": version, "authorization": "Bearer x"}
    mock.forward("POST", "/contacts/bulk/tags/update/add", headers, b'{"contacts": [], "tags": [1]}')
    mock.forward("GET", "/contacts/abc", {}, b"")
    mock.forward("PUT", "/contacts/upsert", headers, b"{}")
    assert {
        ("POST /contacts/bulk/tags/update/{type}", "request.body: required"),
        ("POST /contacts/bulk/tags/update/{type}", "request.body.tags.*: type"),
        ("GET /contacts/{contactId}", "answer 401"),
        ("PUT /contacts/{contactId}", "answer 405"),
    } <= mock.differences
