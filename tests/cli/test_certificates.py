"""A server whose certificate is expired, self-signed or of another host gets no byte of a request, and so no token."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox.app import DEMO_TOKEN
from tests.cli.conftest import Command
from tests.cli.test_route import VARIABLES
from tests.tls import Fault, recording

FOUND = {
    Fault.EXPIRED: ("certificate has expired", "whoever runs the host must renew it"),
    Fault.NOT_YET: ("certificate is not yet valid", "see whether the clock of this machine is right"),
    Fault.SELF_SIGNED: ("self-signed certificate", "only the certificates that SSL_CERT_FILE names are trusted"),
    Fault.UNKNOWN: ("unable to get local issuer certificate", "only the certificates that SSL_CERT_FILE names"),
    Fault.OTHER_HOST: ("certificate is not valid for '127.0.0.1'", "see that api.base_url names the host"),
}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("fault", FOUND)
def test_a_bad_certificate_is_refused_before_a_header_leaves(
    fault: Fault,
    version: ssl.TLSVersion,
    reconciler: Command,
    manifest: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=([0], ["customer"], []))
    for name in (*VARIABLES, *map(str.lower, VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    with recording(tmp_path, fault, version) as server:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", f"https://127.0.0.1:{server.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(server.trusted))
        ended = reconciler("refresh", "--quiet")

    assert server.connections == 1, "another try is shown the same certificate"
    assert bytes(server.received) == b""
    said = " ".join(ended.err.split())
    what, remedy = FOUND[fault]
    assert ended.code == 1
    assert f"cannot reach https://127.0.0.1:{server.port}: its certificate is not trusted: " in said
    assert what in said
    assert remedy in said


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_good_certificate_gets_the_request_and_its_token(
    version: ssl.TLSVersion,
    reconciler: Command,
    manifest: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the server of these tests does hear what a client says."""
    manifest(customers=([0], ["customer"], []))
    for name in (*VARIABLES, *map(str.lower, VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    with recording(tmp_path, Fault.NONE, version) as server:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", f"https://127.0.0.1:{server.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(server.trusted))
        assert reconciler("refresh", "--quiet").code == 7
    assert f"Bearer {DEMO_TOKEN}".encode() in server.received
