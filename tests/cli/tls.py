"""Certificates that nobody trusts but who is told to."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.fakes import directory_in_memory


def make_certificate(directory: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate of `name`, such as `IP:127.0.0.1`, in a file, and what a server with it needs."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    certificate, key = directory / "own.pem", directory / "own.key"
    for file, content in zip((certificate, key), _made(name), strict=True):
        file.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@cache
def _made(name: str) -> tuple[bytes, bytes]:
    """A key takes its time, and nobody minds the same one."""
    with directory_in_memory() as directory:
        certificate, key = directory / "own.pem", directory / "own.key"
        _make(name, certificate, key)
        return certificate.read_bytes(), key.read_bytes()


def _make(name: str, certificate: Path, key: Path) -> None:
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own"]
    made = [*request, "-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
