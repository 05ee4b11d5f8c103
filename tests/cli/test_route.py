"""Proxies and certificates from the environment: they work, or one line names the variable. And a server whose
certificate nobody trusts is asked once."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from reconciler.core.model.errors import NoWay
from reconciler.highlevel import describe_proxy
from reconciler.highlevel.route import find_route
from tests.cli.conftest import Command
from tests.tls import make_certificate

API = "https://services.leadconnectorhq.com"
PROXY = "http://proxy.example:3128"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
VARIABLES = (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": PROXY}, f"the proxy {PROXY} (HTTPS_PROXY)"),
        ({"https_proxy": "proxy.example:3128", "HTTPS_PROXY": "http://other:1"}, f"the proxy {PROXY} (https_proxy)"),
        ({"ALL_PROXY": PROXY}, f"the proxy {PROXY} (ALL_PROXY)"),
        ({"HTTP_PROXY": PROXY}, ""),
        ({"HTTPS_PROXY": "http://me:secret@[fd00::1]:3128"}, "the proxy http://[fd00::1]:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "  "}, ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, ""),
    ],
)
def test_the_proxy_and_its_variable(environment: dict[str, str], proxy: str) -> None:
    assert describe_proxy(API, environment) == proxy


@pytest.mark.parametrize(
    ("excepted", "host", "direct"),
    [
        ("leadconnectorhq.com", "services.leadconnectorhq.com", True),
        (".leadconnectorhq.com, other", "services.leadconnectorhq.com", True),
        ("*.LeadConnectorHQ.com", "services.leadconnectorhq.com", True),
        ("connectorhq.com", "services.leadconnectorhq.com", False),
        ("services.leadconnectorhq.com:443", "services.leadconnectorhq.com", True),
        ("services.leadconnectorhq.com:8443", "services.leadconnectorhq.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("fd00::/8", "[fd12::1]", True),
        ("::2", "[::2]", True),
        ("[::2]:443", "[::2]", True),
        ("[::2]:8443", "[::2]", False),
        ("::2/128", "[::3]", False),
        ("10.0.0.0/99,,[,::x/1, a:b:c", "services.leadconnectorhq.com", False),
    ],
)
def test_no_proxy_holds_names_addresses_and_networks(excepted: str, host: str, direct: bool) -> None:
    """httpx fails on networks and on addresses of IPv6 while the client is built."""
    found = describe_proxy(f"https://{host}", {"HTTPS_PROXY": PROXY, "NO_PROXY": excepted})
    assert found == ("" if direct else f"the proxy {PROXY} (HTTPS_PROXY)")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_is_asked_directly(host: str) -> None:
    assert describe_proxy(f"https://{host}:1", {"HTTPS_PROXY": PROXY}) == ""


@pytest.mark.parametrize(
    "value",
    ["http://", "http://proxy:99999", "socks4://a:1", "ftp://a", "http://[::1", "http://a b:1", "://", "http:// "],
)
def test_an_odd_proxy_is_named_by_its_variable(value: str) -> None:
    with pytest.raises(NoWay) as caught:
        find_route(API, {"ALL_PROXY": value.replace("http://proxy", "http://me:secret@proxy")})
    assert caught.value.message == "ALL_PROXY: what it holds is no address of a proxy"
    assert "http://host:port" in caught.value.hint


@pytest.mark.extras
def test_a_socks_proxy_works_with_its_extra_or_says_which() -> None:
    environment = {"ALL_PROXY": "socks5://me:secret@proxy.example:1080"}
    if find_spec("socksio"):
        assert describe_proxy(API, environment) == "the proxy socks5://proxy.example:1080 (ALL_PROXY)"
        return
    with pytest.raises(NoWay) as caught:
        describe_proxy(API, environment)
    told = "ALL_PROXY: socks5://proxy.example:1080 is a SOCKS proxy, which needs an extra that is not installed"
    assert (caught.value.message, "[socks]" in caught.value.hint) == (told, True)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("missing.pem", "No such file or directory"),
        ("x" * 5_000, "File name too long"),
        ("text.pem", "it holds no certificate (PEM)"),
        ("empty.pem", "it holds no certificate (PEM)"),
    ],
)
def test_certificates_that_cannot_be_used_are_named_by_their_variable(
    variable: str, place: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(NoWay) as caught:
        find_route(API, {variable: str(tmp_path / place)})
    assert caught.value.message.startswith(f"{variable}: the certificates in '/")
    assert caught.value.message.endswith(f"cannot be used: {why}")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("place", ["", "missing/keys.log", "x" * 5_000])
def test_a_key_log_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(NoWay) as caught:
        find_route(API, {"SSLKEYLOGFILE": str(tmp_path / place)})
    assert caught.value.message.startswith("SSLKEYLOGFILE: ")


def test_what_is_asked_without_encryption_needs_no_certificates() -> None:
    find_route("http://127.0.0.1:1", {"SSL_CERT_FILE": "/missing", "SSLKEYLOGFILE": "/missing/x"})


def test_the_certificates_are_read_once_for_all_locations() -> None:
    routes = [find_route(f"https://services-{number}.example", {}) for number in range(200)]
    assert len({route.context for route in routes}) == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("in_directory", [False, True])
def test_certificates_are_read_again_once_a_file_has_changed(variable: str, in_directory: bool, tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path, "127.0.0.1")
    place = tmp_path / "trusted"
    place.mkdir()
    file = place / "first.pem"
    file.write_bytes(certificate.read_bytes())
    environment = {variable: str(place if in_directory else file)}

    before = find_route(API, environment).context
    assert find_route(API, environment).context is before
    other, _ = make_certificate(tmp_path, "127.0.0.2")
    file.write_bytes(other.read_bytes())
    changed = find_route(API, environment).context
    assert changed is not before
    assert find_route(API, environment).context is changed

    file.unlink()
    if in_directory:
        assert find_route(API, environment).context is not changed
    else:
        with pytest.raises(NoWay, match="No such file or directory"):
            find_route(API, environment)
    file.write_bytes(other.read_bytes())
    assert find_route(API, environment).context is not changed, (
        "as large as before, and of the same content: read again"
    )


@pytest.mark.slow
def test_another_variable_is_another_trust(tmp_path: Path) -> None:
    first, _ = make_certificate(tmp_path, "127.0.0.1")
    environments = [
        {},
        {"SSL_CERT_FILE": str(first)},
        {"SSL_CERT_FILE": str(first), "SSL_CERT_DIR": str(tmp_path)},
        {"CURL_CA_BUNDLE": str(first)},
        {"SSLKEYLOGFILE": str(tmp_path / "keys.log")},
    ]
    assert len({find_route(API, environment).context for environment in environments}) == len(environments)
    assert find_route(API, {"SSL_CERT_FILE": str(first), "CURL_CA_BUNDLE": "/missing"}).context is (
        find_route(API, {"SSL_CERT_FILE": str(first)}).context
    )


@dataclass
class TlsServer:
    """A server with a certificate of its own. `asked`: how often somebody connected."""

    url: str
    certificate: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    """It answers whatever is asked with a refusal of the token."""
    certificate, context = make_certificate(tmp_path, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = TlsServer(f"https://127.0.0.1:{listening.getsockname()[1]}", certificate)
        Thread(target=_serve, args=(listening, context, found.asked), daemon=True).start()
        yield found


def _serve(listening: socket.socket, context: ssl.SSLContext, asked: list[str]) -> None:
    body = b'{"statusCode":401,"message":"Invalid token"}'
    answer = b"HTTP/1.1 401 no\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
    with suppress(OSError):
        while True:
            accepted, _ = listening.accept()
            asked.append("connected")
            with suppress(OSError), context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(65_536)
                connection.sendall(answer % (len(body), body))


@pytest.fixture
def clean(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.lower, VARIABLES)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("clean")
def test_a_certificate_that_nobody_trusts_is_told_and_asked_for_once(
    reconciler: Command, manifest: Callable[..., None], server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", server.url)
    for command in (("refresh",), ("drift", "--refresh", "get"), ("apply", "--auto-approve")):
        before = len(server.asked)
        ended = reconciler(*command, "--quiet")
        assert ended.code in (1, 3)
        said = ended.err + ended.out
        assert f"cannot reach {server.url}: its certificate is not trusted" in " ".join(said.split())
        assert "SSL_CERT_FILE" in said
        assert "bug" not in said
        assert len(server.asked) == before + 1, "another try is shown the same certificate"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.usefixtures("clean")
def test_a_certificate_that_a_variable_names_is_trusted(
    variable: str,
    reconciler: Command,
    manifest: Callable[..., None],
    server: TlsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", server.url)
    monkeypatch.setenv(variable, str(server.certificate))
    ended = reconciler("refresh", "--quiet")
    assert (ended.code, "answered 401: Invalid token" in ended.err) == (7, True)


@contextmanager
def a_proxy(answer: bytes) -> Iterator[str]:
    """A proxy that answers each request for a tunnel so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer)

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.usefixtures("clean")
def test_a_proxy_that_is_down_is_called_a_proxy(reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "https://services.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    said = doctor(reconciler)
    told = (
        "it is asked through the proxy http://127.0.0.1:9 (HTTPS_PROXY), which cannot be reached: nothing listens there"
    )
    assert told in said
    assert "see HTTPS_PROXY, or name the host in NO_PROXY" in said
    assert "secret" not in said


@pytest.mark.usefixtures("clean")
def test_a_proxy_that_refuses_is_called_a_proxy(reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "https://services.example")
    with a_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert f"through the proxy {url} (HTTPS_PROXY), which refused that: 407" in doctor(reconciler)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("variable", "value"),
    [("HTTPS_PROXY", "socks4://a:1"), ("SSL_CERT_FILE", "/missing"), ("SSLKEYLOGFILE", "/missing/x")],
)
@pytest.mark.usefixtures("clean")
def test_every_command_names_the_variable_in_one_line(
    variable: str,
    value: str,
    reconciler: Command,
    manifest: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "https://services.example")
    monkeypatch.setenv(variable, value)
    for command in ("refresh", "plan --refresh get", "apply --auto-approve", "export --refresh search --out new"):
        ended = reconciler(*command.split(), "--quiet")
        assert ended.code in (1, 3), command
        assert f"{variable}: " in ended.err + ended.out, command
        assert "bug of reconciler" not in ended.err
        assert "Traceback" not in ended.err
    assert f"{variable}: " in doctor(reconciler)


def doctor(reconciler: Command) -> str:
    answer = json.loads(reconciler("doctor", "--location", "asdrwHvLUxlfw5SqKVCN", "--format", "json").out)
    return "\n".join(f"{each['found']} {each['remedy']}" for one in answer["examined"] for each in one["remarks"])
