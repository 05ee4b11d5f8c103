"""`python -m reconciler` is the console script."""

from reconciler.cli import main

main()
