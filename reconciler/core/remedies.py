"""What settles the contacts that a plan, a run or a report leaves aside: the commands, in words."""

from __future__ import annotations

HELD = (
    "Held: nobody knows whether it came to be. `reconciler refresh` looks, `reconciler apply --retry-held` sends again."
)
UNREACHABLE = "Refused: `reconciler refresh` looks again, `reconciler apply --retry-rejected` tries once more."
UNOBSERVED = "Never observed: `reconciler refresh` reads it."


def remedies(*, held: bool = False, unreachable: bool = False, unobserved: bool = False) -> list[str]:
    """A line for each kind of contacts that is there."""
    told = ((held, HELD), (unreachable, UNREACHABLE), (unobserved, UNOBSERVED))
    return [text for there, text in told if there]
