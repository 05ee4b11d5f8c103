"""The synthetic families that the batch planner is measured on; same numbers on every run.

200 tags in 30 overlapping segments of 1–5 tags, of Zipf popularity (exponent 0.7); a contact is in 1 + Poisson(1.5)
segments, and 5 % of contacts carry 1–2 stray tags besides.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconciler.core.model.batch import Demand
from reconciler.core.model.names import ContactId, Tag, TagSet

TAGS = 200
SEGMENTS = 30

_BLOCK = 50_000
_TAG_NAMES = [Tag(f"t{number:03}") for number in range(TAGS)]


@dataclass(frozen=True, slots=True)
class Family:
    """`present`: the share of the desired pairs that is there already. `removes`: contacts that leave a segment
    instead."""

    name: str
    contacts: int
    present: float = 0.0
    stray: float = 0.05
    removes: bool = False

    @property
    def key(self) -> str:
        """The name as an option takes it."""
        return self.name.replace(",", "").replace(" %", "").replace(" ", "-")


FAMILIES = (
    Family("1M", 1_000_000),
    Family("1M, 50 % present", 1_000_000, present=0.5),
    Family("1M, 90 % present", 1_000_000, present=0.9),
    Family("100k", 100_000),
    Family("10k", 10_000),
    Family("10k, no stray tags", 10_000, stray=0.0),
    Family("5M", 5_000_000),
    Family("removes, 310k", 1_126_000, removes=True),
    Family("removes, 3k", 11_000, removes=True),
)


def demands(family: Family, *, seed: int = 1) -> list[Demand]:
    """The demands of a family, one for each pattern; contacts without a change are left out."""
    random = np.random.default_rng(seed)
    segments = np.zeros((SEGMENTS, TAGS), np.bool_)
    for segment in segments:
        segment[random.choice(TAGS, random.integers(1, 6), replace=False)] = True
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for first in range(0, family.contacts, _BLOCK):
        desired, left = _desired(family, segments, min(_BLOCK, family.contacts - first), random)
        if family.removes:
            must, may = _leaving(desired, segments, left, random)
        else:
            must, may = desired & (random.random(desired.shape) >= family.present), desired
        bits = np.concatenate([np.packbits(must, axis=1), np.packbits(may, axis=1)], axis=1)
        for row in np.flatnonzero(must.any(axis=1)).tolist():
            groups[bits[row].tobytes()].append(first + row)
    return _named(groups)


def _desired(
    family: Family, segments: npt.NDArray[np.bool_], rows: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Contacts × tags, and a segment for each contact to leave."""
    weight = np.arange(1, SEGMENTS + 1) ** -0.7
    counts = np.minimum(1 + random.poisson(1.5, rows), SEGMENTS)
    chosen = random.choice(SEGMENTS, (rows, int(counts.max()) + 1), p=weight / weight.sum())
    desired = np.zeros((rows, TAGS), np.bool_)
    for turn in range(int(counts.max())):
        some = np.flatnonzero(counts > turn)
        desired[some] |= segments[chosen[some, turn]]
    for row in np.flatnonzero(random.random(rows) < family.stray):
        desired[row, random.choice(TAGS, random.integers(1, 3), replace=False)] = True
    return desired, chosen[:, -1]


def _leaving(
    desired: npt.NDArray[np.bool_],
    segments: npt.NDArray[np.bool_],
    left: npt.NDArray[np.int64],
    random: np.random.Generator,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """31 % of the contacts have left a segment, 1 % carry a stray tag; what is not desired may be removed."""
    rows = len(desired)
    carried = segments[left] & (random.random(rows) < 0.31)[:, None]
    for row in np.flatnonzero(random.random(rows) < 0.01):
        carried[row, random.integers(TAGS)] = True
    return carried & ~desired, ~desired


def _named(groups: dict[bytes, list[int]]) -> list[Demand]:
    sets: dict[bytes, TagSet] = {}
    for key in groups:
        for half in (key[: len(key) // 2], key[len(key) // 2 :]):
            if half not in sets:
                tags = np.flatnonzero(np.unpackbits(np.frombuffer(half, np.uint8))).tolist()
                sets[half] = frozenset(_TAG_NAMES[tag] for tag in tags)
    return [
        Demand(
            sets[key[: len(key) // 2]],
            sets[key[len(key) // 2 :]],
            tuple(ContactId(f"{contact:020d}") for contact in contacts),
        )
        for key, contacts in groups.items()
    ]


@dataclass(frozen=True, slots=True)
class RoleSet:
    """Rows that are each the union of up to `most` of the roles, which are random columns: as many requests as roles
    are enough to cover them."""

    rows: int
    columns: int
    roles: int
    # roles of a row, at most
    most: int
    # columns of a role
    size: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.rows} × {self.columns}, {self.roles} roles of {self.size[0]}–{self.size[1]}, up to {self.most}"

    def demands(self, seed: int) -> list[Demand]:
        draw = random.Random(seed)
        tags = [Tag(f"t{number:03}") for number in range(self.columns)]
        roles = [frozenset(draw.sample(tags, draw.randint(*self.size))) for _ in range(self.roles)]
        found = []
        for row in range(self.rows):
            carried = frozenset[Tag]().union(*draw.sample(roles, draw.randint(1, self.most)))
            found.append(Demand(carried, carried, (ContactId(f"c{row:03}"),)))
        return found


ROLE_SETS = (
    RoleSet(50, 88, 25, 6, (5, 20)),
    RoleSet(50, 88, 25, 8, (2, 12)),
    RoleSet(50, 100, 40, 5, (4, 20)),
    RoleSet(60, 100, 40, 6, (6, 16)),
    RoleSet(100, 100, 50, 6, (6, 16)),
    RoleSet(100, 120, 60, 5, (8, 20)),
    RoleSet(200, 150, 80, 6, (6, 16)),
    RoleSet(500, 200, 100, 5, (2, 12)),
    RoleSet(500, 300, 200, 6, (2, 12)),
)
