"""The command line: wiring only, one command a file."""


def main() -> None:
    """The console script."""
