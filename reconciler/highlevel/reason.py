"""Why no answer came, in words: what the system says below httpx. Rule: no class names, and nothing of the request."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx


def reason(error: BaseException) -> str:
    """One short line, not yet cleaned of what may be secret in it."""
    return next((told for each in _causes(error) if (told := _of_system(each))), "") or _of_httpx(error)


def is_untrusted(error: BaseException) -> bool:
    """Whether a certificate was refused: another try is shown the same."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def is_of_tls(error: BaseException) -> bool:
    """Whether the host was reached, and no TLS was agreed on with it."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


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
