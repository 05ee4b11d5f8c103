"""PostgreSQL whose certificate is bad: where the URL demands its verification, no user and no password is sent."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from reconciler.core.model.errors import StateError
from reconciler.core.model.names import LocationId
from reconciler.store import open_reader
from tests.build import HERE
from tests.extras import need
from tests.tls import Fault, recording

pytestmark = pytest.mark.extras

ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")
# libpq tells no more of a chain that does not verify
REFUSED = "certificate verify failed"
FOUND = dict.fromkeys([Fault.EXPIRED, Fault.NOT_YET, Fault.SELF_SIGNED, Fault.UNKNOWN], REFUSED) | {
    Fault.OTHER_HOST: 'server certificate for "127.0.0.2" does not match host name "127.0.0.1"'
}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("fault", FOUND)
def test_a_bad_certificate_is_refused_before_a_password_leaves(
    fault: Fault, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    need("psycopg")
    with (
        recording(tmp_path, fault, version, opening=ASKS_FOR_TLS, welcome=b"S") as server,
        pytest.raises(StateError) as caught,
    ):
        look(server.port, server.trusted)
    assert server.connections >= 1
    assert bytes(server.received) == b""
    assert FOUND[fault] in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint
    assert "sslrootcert" in caught.value.hint


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_good_certificate_gets_the_user(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """So the server of these tests does hear what a client says."""
    need("psycopg")
    with (
        recording(tmp_path, Fault.NONE, version, opening=ASKS_FOR_TLS, welcome=b"S") as server,
        pytest.raises(StateError),
    ):
        look(server.port, server.trusted)
    assert b"user\0anna\0" in server.received


def look(port: int, trusted: Path) -> None:
    parameters = f"sslmode=verify-full&sslrootcert={trusted}&gssencmode=disable"
    with open_reader(f"postgresql://anna:secret@127.0.0.1:{port}/tags?{parameters}") as reader:
        reader.at(LocationId(HERE)).load_state()
