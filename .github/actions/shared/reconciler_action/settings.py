"""What the actions need of the settings: which variables hold tokens, and where the API is."""

from __future__ import annotations

from pathlib import Path

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import LocationId
from reconciler.loading import load_settings
from reconciler_action.runner import Runner

ANY = LocationId("any other")


def mask_tokens(runner: Runner) -> None:
    """Masks every token that the settings name; where they cannot be read, `validate` tells of it."""
    try:
        settings = load_settings(Path(runner.given("manifests")), environment=runner.environment, flags={})
    except ReconcilerError:
        return
    names = {settings.location(each).token_env for each in (*settings.locations, ANY)}
    runner.mask(runner.environment.get(name, "") for name in sorted(names))


def common(runner: Runner) -> list[str]:
    """What the workflow says of every command: where the API is, and whether this is the first run.

    A pull request that changes `api.base_url` would be sent the token.
    """
    first = ["--create-state"] if runner.wants("create-state") else []
    return ["--api-base-url", runner.given("base-url"), *first]
