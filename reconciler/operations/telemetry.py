"""Telemetry by the standard variables of OpenTelemetry: `open_telemetry(environment, …) -> Telemetry | None`.

Rules
1. It is off unless a variable names an endpoint. No file of a repository, and no flag, can name one.
2. One line tells why it is off although a variable names one, and the command goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.core.model.errors import install_hint
from reconciler.core.model.names import Instant

if TYPE_CHECKING:
    from reconciler.telemetry import Telemetry

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SIGNALS = ("METRICS", "TRACES")
_PROTOCOL = "http/protobuf"


def open_telemetry(
    environment: Mapping[str, str], command: str, now: Callable[[], Instant], warn: Callable[[str], None]
) -> Telemetry | None:
    """The telemetry of a command, where the environment asks for it; `warn` gets the line that says why there is none.

    The library reads the variables of the process itself: `environment` is that of the process.
    """
    signals = _find_signals(environment)
    if not signals:
        return None
    if why := _find_obstacle(environment, signals):
        warn(f"telemetry is off: {why}")
        return None
    try:
        from reconciler.telemetry import Telemetry
    except ImportError:
        warn(f"telemetry is off: {name_endpoint(environment)} is set, and its extra is missing: {install_hint('otel')}")
        return None
    try:
        return Telemetry(command, __version__, now, metrics="METRICS" in signals, traces="TRACES" in signals)
    except Exception as error:  # noqa: BLE001  what the library makes of its variables ends no run
        # its words may repeat a header with a secret
        warn(f"telemetry is off: a variable OTEL_… has a value that cannot be used ({type(error).__name__})")
        return None


def name_endpoint(environment: Mapping[str, str]) -> str:
    """The variable that names the endpoint, for messages."""
    names = (ENDPOINT, *(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in _SIGNALS))
    return next((name for name in names if _read(environment, name)), ENDPOINT)


def _find_signals(environment: Mapping[str, str]) -> list[str]:
    """The signals that have an endpoint, and are not switched off."""
    if _read(environment, "OTEL_SDK_DISABLED").lower() == "true":
        return []
    return [
        signal
        for signal in _SIGNALS
        if _find_endpoint(environment, signal) and _read(environment, f"OTEL_{signal}_EXPORTER").lower() != "none"
    ]


def _find_obstacle(environment: Mapping[str, str], signals: list[str]) -> str:
    for signal in signals:
        # the library would go on with a default of its own, and nobody would see why nothing arrives
        exporter, name = _read(environment, f"OTEL_{signal}_EXPORTER"), f"OTEL_{signal}_EXPORTER"
        if exporter not in ("", "otlp"):
            return f"{name} names another exporter than otlp or none"
        general, own = "OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
        if (_read(environment, own) or _read(environment, general) or _PROTOCOL) != _PROTOCOL:
            return f"only the protocol {_PROTOCOL} is spoken; see {general}"
        if not _is_address(_find_endpoint(environment, signal)):
            return f"{name_endpoint(environment)} is no address such as http://127.0.0.1:4318"
    return ""


def _find_endpoint(environment: Mapping[str, str], signal: str) -> str:
    return _read(environment, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or _read(environment, ENDPOINT)


def _is_address(url: str) -> bool:
    # a host without a scheme would be asked as a path
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _read(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()
