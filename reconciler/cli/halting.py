"""What stops a run: signals, a canary that does not sing, and the options for both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from reconciler.apply import Stop
from reconciler.cli.console import Console
from reconciler.cli.signals import listening
from reconciler.core.model.settings import ApplySettings
from reconciler.core.running.stop_conditions import Canary, StopOn

RATES = ("error_rate", "surprise_rate")


@contextmanager
def stopping(console: Console) -> Iterator[Stop]:
    """A Stop that signals ask. The first one lets what is under way end; the second one ends the process at once:
    what was intended is in the journal."""
    stop = Stop()

    def ask(signum: int) -> None:
        if stop.interrupted is not None:
            sys.stderr.flush()
            os._exit(128 + signum)
        stop.ask(signum)
        console.warn("stopping: nothing more is sent; what is under way ends first (once more: at once)")

    with listening(ask):
        yield stop


def _canary(ctx: click.Context, param: click.Parameter, value: str | None) -> Canary | None:
    if value is None:
        return None
    number, percent = value.removesuffix("%"), value.endswith("%")
    size = _number(number)
    if not 0 < size <= (100 if percent else 1e9) or (not percent and size != int(size)):
        raise click.BadParameter(f"{value!r} is neither a number of contacts nor a share such as 5%")
    return Canary(size, percent)


def _rates(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float]:
    found = {}
    for part in value.split(",") if value else ():
        name, _, limit = part.strip().partition("=")
        share = _number(limit.removesuffix("%"))
        if name not in RATES or not 0 <= share <= 100:
            raise click.BadParameter(f"{part.strip()!r} is none of {', '.join(f'{each}=PERCENT' for each in RATES)}")
        found[name] = share
    return found


def _number(text: str) -> float:
    """-1 where it is none."""
    return float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else -1.0


CANARY = click.option(
    "--canary",
    callback=_canary,
    metavar="N|N%",
    help="Begin with N contacts, then go on in waves, each ten times as large.",
)
STOP_ON = click.option(
    "--stop-on",
    callback=_rates,
    metavar="RATE=P[,RATE=P]",
    help="Stop where more than P percent end badly (error_rate), or surprise us (surprise_rate).",
)


def stop_on(settings: ApplySettings, options: Mapping[str, Any]) -> StopOn:
    """The shares that stop a run: those of the flag, else those of the settings."""
    given = options.get("stop_on") or {}
    return StopOn(
        errors=given.get("error_rate", settings.max_error_pct),
        surprises=given.get("surprise_rate", settings.max_surprise_pct),
    )
