"""Why no answer came, in words: what the system says below httpx. Rule: no class names, and nothing of the request."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping

import httpx

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""A proxy from the environment has no business between this process and these."""


def reason(error: BaseException) -> str:
    """One short line, not yet cleaned of what may be secret in it."""
    return next((told for each in _causes(error) if (told := _of_system(each))), "") or _of_httpx(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the last cause first: it says the most."""
    causes, cause = [error], error.__cause__ or error.__context__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return reversed(causes)


def _of_system(error: BaseException) -> str:
    match error:
        case socket.gaierror():
            return f"its name cannot be resolved ({error.strerror or 'no reason is told'})"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLWantReadError() | ssl.SSLWantWriteError():
            return ""
        case ssl.SSLError():
            return f"no TLS could be agreed on: {(error.reason or 'no reason is told').lower().replace('_', ' ')}"
        case ConnectionRefusedError():
            return "nothing listens there: the connection was refused"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case OSError(strerror=str() as told):
            return told
    return ""


def _of_httpx(error: BaseException) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return "no connection within the time-out"
        case httpx.TimeoutException() | TimeoutError():
            return "nothing came within the time-out"
        case httpx.RemoteProtocolError():
            return f"the connection ended in the midst of it: {error}"
    return str(error) or "the connection broke off"


def proxy_of(url: str, environment: Mapping[str, str]) -> str:
    """The proxy through which httpx asks for `url`, with the variable that names it; empty for none."""
    asked = httpx.URL(url)
    if asked.host in LOOPBACK or _is_excepted(asked.host, environment):
        return ""
    names = (name for scheme in (asked.scheme, "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()))
    named = ((name, environment[name]) for name in names if environment.get(name))
    return next((f"the proxy {_origin(value)} ({name})" for name, value in named), "")


def _is_excepted(host: str, environment: Mapping[str, str]) -> bool:
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip().lstrip(".") for name in listed.split(",")]
    return any(name == "*" or (name and (host == name or host.endswith(f".{name}"))) for name in names)


def _origin(url: str) -> str:
    """Without user and password."""
    try:
        found = httpx.URL(url if "://" in url else f"http://{url}")
    except httpx.InvalidURL:
        return "that is no URL"
    return f"{found.scheme}://{found.host}" + (f":{found.port}" if found.port else "")
