"""The route to the API by the variables of the environment: through which proxy, and which certificates are trusted.

Rules
1. The environment is read here, not by the HTTP library: a variable either works, or one line names it.
2. Loopback is asked directly. NO_PROXY holds names (with all below them), addresses and networks of IPv4 and IPv6, each
   with a port or without, and `*`.
3. Where variables name certificates, these are trusted and no others.
4. No message holds a proxy's user or password.
5. The certificates are read once for all locations of a process, and again once a variable or a file that it names has
   changed (`_Trust`).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path

from reconciler.core.model.errors import NoWay, install_hint
from reconciler.core.model.safe_text import quoted
from reconciler.highlevel.http_client import ApiAddress, Proxy, read_address, read_proxy, trust_installed

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""A proxy from the environment has no business between this process and these."""

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The names that other programs have for them: taken where the two above are empty."""
_PORTS = 65_535
_WRONG_HOST = (
    "see that api.base_url names the host that the certificate is for, and whether a proxy answers in its place"
)
_REMEDIES = {
    9: "see whether the clock of this machine is right",
    10: "whoever runs the host must renew it; see too whether the clock of this machine is right",
    62: _WRONG_HOST,
    64: _WRONG_HOST,
}
"""By OpenSSL's numbers: not valid yet, expired, of another name, of another address. To trust more would not help."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one origin is reached."""

    context: ssl.SSLContext
    """The certificates that are trusted."""
    proxy: Proxy | None = None
    named_by: str = ""
    """The variable that names the proxy."""
    trusted_by: tuple[str, ...] = ()
    """The variables that name the certificates; none where they are those that this installation trusts."""

    def __str__(self) -> str:
        """The proxy, without user and password; empty for none."""
        return f"the proxy {self.proxy.address} ({self.named_by})" if self.proxy else ""

    def trust_hint(self, reason: int) -> str:
        """The remedy where the network shows a certificate that is not trusted; `reason`: OpenSSL's number."""
        if reason in _REMEDIES:
            return _REMEDIES[reason]
        if self.trusted_by:
            return f"only the certificates that {' and '.join(self.trusted_by)} names are trusted: see whether they do"
        return "where your network puts its own certificate there, name that one in the variable SSL_CERT_FILE"


@cache
def no_route() -> Route:
    """The way where nothing is encrypted."""
    # a context that trusts no certificate: to load those of the installation takes a while; OpenSSL makes one in a
    # millisecond, and every way shares it
    return Route(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def find_route(url: str, environment: Mapping[str, str]) -> Route:
    """The way to a URL's origin; raises NoWay with the variable that cannot be used."""
    address = read_address(url)
    if address.scheme != "https":
        # only loopback is asked so
        return no_route()
    context, trusted_by = _trusted(environment)
    named_by = _proxy_variable(address, environment)
    proxy = _find_proxy(named_by, environment[named_by]) if named_by else None
    return Route(context, proxy, named_by, trusted_by)


def _proxy_variable(address: ApiAddress, environment: Mapping[str, str]) -> str:
    if address.host in LOOPBACK or _is_excepted(address, environment):
        return ""
    names = (name for scheme in (address.scheme, "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()))
    return next((name for name in names if environment.get(name, "").strip()), "")


def _find_proxy(variable: str, value: str) -> Proxy:
    text = value.strip()
    try:
        proxy = read_proxy(text if "://" in text else f"http://{text}")
        address = proxy.address
        if not address.host or "%" in address.host or (address.port or 0) > _PORTS:
            raise ValueError("no host, or no port that there is")
    except ValueError:
        raise NoWay(
            f"{variable}: what it holds is no address of a proxy",
            hint="write http://host:port, https://host:port or socks5://host:port, or name the host in NO_PROXY",
        ) from None
    if address.scheme.startswith("socks") and find_spec("socksio") is None:
        raise NoWay(
            f"{variable}: {address} is a SOCKS proxy, which needs an extra that is not installed",
            hint=install_hint("socks"),
        )
    return proxy


def _is_excepted(address: ApiAddress, environment: Mapping[str, str]) -> bool:
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_excepts(entry, address.host.lower(), address.port or 443) for entry in listed.replace(",", " ").split())


def _excepts(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, only = _without_port(entry.lower())
    if only not in ("", str(port)):
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        # a name excepts all names below it; `*.name` and `.name` are other spellings of that
        name = name.removeprefix("*").removeprefix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _without_port(entry: str) -> tuple[str, str]:
    """`host:port`, `[address]:port`, or either without a port; an address of IPv6 may stand without brackets."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = entry.partition(":")
    return (name, port) if port.isdigit() else (entry, "")


@dataclass(frozen=True, slots=True)
class _Trust:
    """All that a TLS context depends on: equal ones share it. The certificates of the installation count as unchanging.

    A context in use stays as it is: what has changed shows in the connections that are made from then on.
    """

    key_log: str
    named: tuple[tuple[str, Path], ...]
    """The variables that name certificates, each with one place that it names."""
    stamps: tuple[tuple[object, ...], ...]
    """Of each place its version, and of a directory those of its files."""


def _trusted(environment: Mapping[str, str]) -> tuple[ssl.SSLContext, tuple[str, ...]]:
    _try_key_log(environment)
    chosen = [name for name in _CERTIFICATES if environment.get(name)]
    chosen = chosen or [name for name in _BUNDLES if environment.get(name)][:1]
    named = tuple((variable, place) for variable in chosen for place in _places(variable, environment[variable]))
    stamps = tuple(tuple(_stamps(place)) for _, place in named)
    return _make_context(_Trust(environment.get("SSLKEYLOGFILE", ""), named, stamps)), tuple(chosen)


@lru_cache(maxsize=8)
def _make_context(trust: _Trust) -> ssl.SSLContext:
    if not trust.named:
        return trust_installed()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for variable, place in trust.named:
        _load(context, variable, place)
    return context


def _stamps(place: Path) -> Iterator[object]:
    # OpenSSL keeps what it has read of a directory, whatever becomes of the file there
    with suppress(OSError, ValueError):
        yield from (_stamp(file) for file in sorted(place.iterdir()))
    yield _stamp(place)


def _stamp(file: Path) -> object:
    """None for a file that cannot be seen: to load it tells why."""
    try:
        stat = file.stat()
    except (OSError, ValueError):
        return None
    return file, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _places(variable: str, value: str) -> Iterator[Path]:
    """SSL_CERT_DIR may list several directories."""
    parts = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
    return (Path(part) for part in parts if part)


def _load(context: ssl.SSLContext, variable: str, place: Path) -> None:
    try:
        if place.is_dir():
            # OpenSSL takes a directory that cannot be listed, and then trusts nothing
            next(place.iterdir(), None)
            context.load_verify_locations(capath=place)
        else:
            context.load_verify_locations(cafile=place)
    except ssl.SSLError:
        raise _unreadable(variable, place, "it holds no certificate (PEM)") from None
    except (OSError, ValueError) as error:
        raise _unreadable(variable, place, getattr(error, "strerror", "") or str(error)) from None


def _unreadable(variable: str, place: Path, why: str) -> NoWay:
    return NoWay(
        f"{variable}: the certificates in {quoted(str(place)[:200])} cannot be used: {why}",
        hint="name a file of certificates (PEM), or unset it",
    )


def _try_key_log(environment: Mapping[str, str]) -> None:
    """Python's TLS writes its keys there by itself, and fails where it cannot."""
    if place := environment.get("SSLKEYLOGFILE"):
        try:
            Path(place).open("ab").close()
        except (OSError, ValueError) as error:
            raise NoWay(
                f"SSLKEYLOGFILE: {quoted(place[:200])} cannot be written to: {getattr(error, 'strerror', '') or error}",
                hint="unset it, unless you mean to read what is sent",
            ) from None
