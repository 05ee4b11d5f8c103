"""Tags that a location spells otherwise than they were sent: found in answers, and taken for the tag ever after.

Rules
1. Two spellings are of one tag where nothing but the spelling sets them apart (`names.folded`).
2. What was sent is the tag, unless only the spelling that came back is desired; a removal names the one that is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.facts import Alias
from reconciler.core.names import Tag, TagSet, folded
from reconciler.core.observed import Known

NONE: TagSet = frozenset()


def aliases_in(tags: TagSet, carried: Iterable[TagSet | None]) -> Iterator[Alias]:
    """The aliases that answers to an add of `tags` tell; `carried` by the contacts afterwards, None where unknown."""
    for observed in {each for each in carried if each is not None}:
        for tag in sorted(tags - observed):
            alike = sorted(each for each in observed - tags if folded(each) == folded(tag))
            if alike:
                yield tag, alike[0]


@dataclass(frozen=True, slots=True)
class Spelling:
    """What holds for contacts of which the same is desired. `others`: a tag's spellings besides its own.

    `desired`: other spellings of tags that are desired; never removed, whoever else names them.
    """

    others: Mapping[Tag, TagSet]
    desired: TagSet = NONE

    def read(self, known: Known, named: Collection[Tag]) -> Known:
        """What is known, each tag in its own spelling; `named` spellings stay as well."""
        if not self.others:
            return known
        seen = None if known.observed is None else self._read(known.observed, named)
        return replace(known, observed=seen, doubt=self._read(known.doubt, named))

    def _read(self, tags: TagSet, named: Collection[Tag]) -> TagSet:
        there = {tag for tag, others in self.others.items() if others & tags}
        return tags.difference(*self.others.values()).union(there, tags.intersection(named))

    def there(self, tag: Tag, observed: TagSet | None) -> TagSet:
        """The spellings under which a removal of `tag`, which has others, finds it."""
        others = self.others.get(tag, NONE)
        return others if observed is None else observed & (others | {tag})

    def every(self, tags: Collection[Tag]) -> tuple[Tag, ...]:
        """The tags, sorted, each in every spelling that it may have there."""
        return tuple(sorted(frozenset(tags).union(*(self.others.get(tag, NONE) for tag in tags))))


AS_SENT = Spelling({})


def spelling(aliases: Sequence[Alias], present: Collection[Tag]) -> Spelling:
    """What holds of the location's aliases where `present` is desired."""
    if not aliases:
        return AS_SENT
    others: dict[Tag, TagSet] = {}
    desired: set[Tag] = set()
    for sent, back in aliases:
        tag, other = (back, sent) if back in present and sent not in present else (sent, back)
        others[tag] = others.get(tag, NONE) | {other}
        desired |= {other} if tag in present else set()
    return Spelling(others, frozenset(desired))
