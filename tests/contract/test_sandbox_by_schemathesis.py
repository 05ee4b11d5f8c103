"""The sandbox, asked by schemathesis what the vendor's OpenAPI files allow and what they forbid.

What it answers otherwise than the files say is a listed exception with its reason. `pytest --vendor=DIR -m servers`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import in_background
from reconciler.sandbox.access import Limits, SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, SCOPES, App
from tests.build import HERE
from tests.contract.exceptions import compare, exceptions
from tests.contract.vendor_api import VERSIONS, only_used, vendor_document, with_parameter
from tests.sandbox.builders import ANNA, a_world

pytestmark = pytest.mark.servers

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "ignored_auth",
)
"""All but those of methods that the files do not name: the vendor answers them 404, which no file says."""
AGENCY = SandboxAgency("agency-token", "ve9EPM428h8vShlRW1KT", SCOPES)
NO_LIMIT = Limits(1_000_000, 1_000, 1_000_000_000)
SETTINGS = f"""\
headers = {{ Authorization = "Bearer {DEMO_TOKEN}", Version = "VERSION" }}

[parameters]
"path.contactId" = "{ANNA}"
"path.locationId" = "{HERE}"
"query.locationId" = "{HERE}"

[[operations]]
include-path = "/oauth/locationToken"
headers = {{ Authorization = "Bearer {AGENCY.token}", Version = "VERSION" }}
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_sandbox_answers_otherwise_is_listed(version: str, vendor: Path, tmp_path: Path) -> None:
    document = with_parameter(only_used(vendor_document(vendor, version)))
    with in_background(App(a_world(), agency=AGENCY, limits=NO_LIMIT)) as sandbox:
        report = examine(document, sandbox.url, version, tmp_path)
    assert report["errors"] == []
    assert report["operations"]["tested"] == len(document["paths"])
    assert report["test_cases"]["generated"] > 100
    found = {(each["code"], operation) for each in report["failures"] for operation in each["operations"]}
    listed = {(entry["code"], entry["operation"]) for entry in exceptions("sandbox", version)}
    assert compare(found, listed) == []


def examine(document: dict[str, Any], url: str, version: str, directory: Path) -> dict[str, Any]:
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis asks the sandbox: pip install schemathesis")
    (directory / "vendor.json").write_text(json.dumps(document))
    (directory / "schemathesis.toml").write_text(SETTINGS.replace("VERSION", version))
    options = {
        "--url": url,
        "--checks": ",".join(CHECKS),
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": "10",
        "--seed": "1",
        "--report": "json",
        "--report-json-path": str(directory / "report.json"),
    }
    command = [
        program,
        "--config-file",
        "schemathesis.toml",
        "run",
        "vendor.json",
        "--continue-on-failure",
        "--no-color",
    ]
    command += [part for option in options.items() for part in option]
    said = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert said.returncode in (0, 1), said.stdout + said.stderr
    found: dict[str, Any] = json.loads((directory / "report.json").read_bytes())
    return found
