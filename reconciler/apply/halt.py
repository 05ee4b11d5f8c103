"""A run that goes badly ends itself: shares of rows that are over a limit, or that show a wrong token or location."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.apply.run import Run
from reconciler.core.model.errors import Unfinished
from reconciler.core.model.names import ContactId


def halt_if_wrong(run: Run) -> None:
    """Whether to go on, as the run goes so far."""
    if run.rates.looks_wrong:
        run.wrong = True
        run.halt(
            Unfinished(
                f"{run.rates.wrong}: {run.world.token(run.location)} or the location {run.location} is probably wrong; "
                "nobody was quarantined",
                hint="see that the token is of this location and the manifests name its contacts, then apply again; "
                "`reconciler state forget` gives up contacts that are really gone",
            )
        )
    elif passed := run.rates.over(run.mission.stop_on):
        run.halt(_passed_over(passed))


def check_wave(run: Run, wave: Collection[ContactId] | None) -> None:
    """Raises Unfinished where a wave shows a share over its limit, however few contacts it has; None: the last one,
    after which nothing is left to stop."""
    if wave is not None and (passed := run.rates.over(run.mission.stop_on, few=1)):
        raise _passed_over(f"after the first {len(wave):,} contact{'s' * (len(wave) > 1)}: {passed}")


def _passed_over(passed: str) -> Unfinished:
    return Unfinished(passed, hint="what was sent is told above; look at it, then plan and apply again to go on")
