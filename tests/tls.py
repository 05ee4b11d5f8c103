"""Certificates that nobody trusts but who is told to, and a server that shows one and keeps what comes after it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from threading import Thread

from trustme import CA, LeafCert


def make_certificate(directory: Path, name: str, *, begins: int = -1, ends: int = 2) -> tuple[Path, ssl.SSLContext]:
    """The authority of a certificate of `name`, a host or an address, in a file, and what a server with it needs.

    `begins`, `ends`: days from today.
    """
    authority = CA()
    today = datetime.now(UTC)
    own = authority.issue_cert(name, not_before=today + timedelta(begins), not_after=today + timedelta(ends))
    file = directory / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return file, _serving(own)


def make_self_signed(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """The same of a certificate that is its own authority."""
    authority = CA()
    file, key = directory / "self-signed.pem", directory / "self-signed.key"
    authority.cert_pem.write_to_path(file)
    authority.private_key_pem.write_to_path(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


def _serving(own: LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.configure_cert(context)
    return context


class Fault(StrEnum):
    """What is wrong with a certificate."""

    NONE = "none"
    EXPIRED = "expired"
    NOT_YET = "not yet valid"
    SELF_SIGNED = "self-signed"
    UNKNOWN = "of an authority that nobody trusts"
    OTHER_HOST = "of another host"


@dataclass
class Recorder:
    """A server that shows a certificate. `trusted`: the file whose certificates a client is told to trust."""

    port: int
    trusted: Path
    context: ssl.SSLContext
    opening: bytes = b""
    """What a client says before TLS begins, if its protocol has that."""
    welcome: bytes = b""
    """What the server says to that."""
    connections: int = 0
    received: bytearray = field(default_factory=bytearray)
    """All that came within TLS."""

    def serve(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                self.connections += 1
                with suppress(OSError), accepted:
                    self._talk(accepted)

    def _talk(self, accepted: socket.socket) -> None:
        accepted.settimeout(10)
        if self.opening:
            assert accepted.recv(len(self.opening), socket.MSG_WAITALL) == self.opening
            accepted.sendall(self.welcome)
        with self.context.wrap_socket(accepted, server_side=True) as connection:
            while data := connection.recv(65_536):
                self.received += data
                # whoever sent something has failed the test, or is shown to be able to
                connection.sendall(b"HTTP/1.1 401 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                return


@contextmanager
def recording(
    directory: Path, fault: Fault, version: ssl.TLSVersion, *, opening: bytes = b"", welcome: bytes = b""
) -> Iterator[Recorder]:
    """A server at 127.0.0.1 whose certificate has one fault."""
    if fault is Fault.SELF_SIGNED:
        _, context = make_self_signed(directory)
        trusted, _ = make_certificate(directory, "127.0.0.1")
    else:
        host = "127.0.0.2" if fault is Fault.OTHER_HOST else "127.0.0.1"
        begins = 1 if fault is Fault.NOT_YET else -9
        trusted, context = make_certificate(directory, host, begins=begins, ends=-1 if fault is Fault.EXPIRED else 9)
        if fault is Fault.UNKNOWN:
            trusted, _ = make_certificate(directory, host)
    context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        recorder = Recorder(listening.getsockname()[1], trusted, context, opening, welcome)
        thread = Thread(target=recorder.serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield recorder
        finally:
            # all that came has been taken in once the server has ended
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            assert not thread.is_alive()
