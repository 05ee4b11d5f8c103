"""The documentation is tested with the fixtures of the command line."""

from tests.cli.conftest import manifest, project, reconciler, sandbox, world

__all__ = ["manifest", "project", "reconciler", "sandbox", "world"]
