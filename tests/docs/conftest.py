"""The documentation is tested with the fixtures of the command line."""

from tests.cli.conftest import clock, manifest, project, reconciler, sandbox, world

__all__ = ["clock", "manifest", "project", "reconciler", "sandbox", "world"]
