"""A run through a SOCKS proxy: the extra `[socks]`, and a proxy of RFC 1928 and 1929 that leads to the sandbox."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from reconciler.core.model.names import Tag
from reconciler.sandbox import Running
from tests.cli.conftest import Command, contact_id
from tests.extras import need
from tests.tls import make_certificate

pytestmark = pytest.mark.extras

NAME = "services.example"
"""No resolver knows it: only who asks the proxy for it gets there."""
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSLKEYLOGFILE")


@dataclass
class Proxy:
    """A SOCKS5 proxy for user `me`, password `secret`, behind which each host is the sandbox, with a certificate.

    `asked`: the hosts and ports that it was asked for; `refused`: how often user or password were wrong.
    """

    behind: str
    context: ssl.SSLContext
    url: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    refused: int = 0

    def serve(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not self._lets_in(connection):
                return
            _version, command, _reserved, kind = _read(connection, 4)
            assert (command, kind) == (1, 3), "to connect, by name"
            host = _read(connection, _read(connection, 1)[0]).decode()
            self.asked.append((host, int.from_bytes(_read(connection, 2))))
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            there = urlsplit(self.behind)
            with (
                self.context.wrap_socket(connection, server_side=True) as here,
                socket.create_connection((there.hostname, there.port)) as beyond,
            ):
                Thread(target=_pump, args=(beyond, here), daemon=True).start()
                _pump(here, beyond)

    def _lets_in(self, connection: socket.socket) -> bool:
        _version, methods = _read(connection, 2)
        assert 2 in _read(connection, methods), "user and password are offered"
        connection.sendall(b"\x05\x02")
        user = _read(connection, _read(connection, 2)[1])
        known = (user, _read(connection, _read(connection, 1)[0])) == (b"me", b"secret")
        connection.sendall(b"\x01\x00" if known else b"\x01\x01")
        self.refused += not known
        return known


def _read(connection: socket.socket, number: int) -> bytes:
    read = b""
    while len(read) < number:
        read += connection.recv(number - len(read)) or _hung_up()
    return read


def _hung_up() -> bytes:
    raise ConnectionError("the other side hung up")


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Passes on what comes, until one of the two hangs up."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(project: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, and an environment in which the API is asked by a name that only the proxy knows."""
    need("socksio")
    certificate, context = make_certificate(project, NAME)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", f"https://{NAME}")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Proxy(sandbox.url, context, url=f"127.0.0.1:{listening.getsockname()[1]}")
        Thread(target=found.serve, args=(listening,), daemon=True).start()
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_run_goes_through_a_socks_proxy(
    scheme: str,
    proxy: Proxy,
    sandbox: Running,
    reconciler: Command,
    manifest: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=([0, 3], ["customer"], []))
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:secret@{proxy.url}")
    for command in (("refresh",), ("apply", "--auto-approve"), ("drift", "--refresh", "get")):
        ended = reconciler(*command, "--quiet")
        assert ended.code == 0, ended.err
        assert "secret" not in ended.out + ended.err
    assert set(proxy.asked) == {(NAME, 443)}
    assert proxy.refused == 0
    assert Tag("customer") in sandbox.do(lambda world, _now: world.contacts[contact_id(3)].tags)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socks_proxy_that_lets_nobody_in_is_called_a_proxy(
    proxy: Proxy, reconciler: Command, manifest: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("ALL_PROXY", f"socks5://me:wrong@{proxy.url}")
    ended = reconciler("refresh", "--quiet")
    said = " ".join(ended.err.split())
    assert ended.code in (1, 3)
    assert f"through the proxy socks5://{proxy.url} (ALL_PROXY)" in said
    assert "wrong" not in said
    assert "bug of reconciler" not in said
    assert (proxy.asked, proxy.refused > 0) == ([], True)
    gc.collect()  # httpx's core leaves it to the garbage collector to close what such a proxy refused
