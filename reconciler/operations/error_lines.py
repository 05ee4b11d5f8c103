"""What a program wrote on its standard error, made fit for a log: `MaskedWords.of(ours, environment).mask(line)`.

Rules
1. Our own secrets are cut out of it.
2. So is the value of each variable of the program that is named like a secret: the variable's name stands there. A
   value of several lines is masked line by line, and the password of a URL by itself, too.
3. So are e-mail addresses and international phone numbers. What else a program tells, it decides: a log is all it gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from reconciler.core.model.safe_text import redacted, withhold_people
from reconciler.highlevel.tokens import SHORTEST, cut

LONGEST_LINE = 500
SHORTEST_VALUE = 6
"""A shorter text may be a part of any word."""
_SECRET_NAME = re.compile(r"(?i)TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIAL|DATABASE_URL")


@dataclass(frozen=True, slots=True, repr=False)
class MaskedWords:
    """The secrets that a line must not tell."""

    ours: tuple[str, ...]
    named: Mapping[str, str] = field(default_factory=dict)
    """The values of the program's variables, and which variable each is of."""

    @classmethod
    def of(cls, ours: Iterable[str], environment: Mapping[str, str]) -> MaskedWords:
        """`ours`: secrets that the program did not get; `environment`: what it got."""
        named: dict[str, str] = {}
        for name in sorted(filter(_SECRET_NAME.search, environment)):
            for text in _parts_of(environment[name]):
                named.setdefault(text, name)
        # a short text is no secret, and may be a part of any word
        return cls(tuple(text for text in ours if len(text) >= SHORTEST), named)

    def mask(self, line: str) -> str:
        """The line without the secrets, e-mail addresses and international phone numbers in it, and not too long."""
        masked = cut(self.ours, line)
        if self.named:
            # the longest first, and all at once: no name that was put there is looked through again
            words = "|".join(map(re.escape, sorted(self.named, key=len, reverse=True)))
            masked = re.sub(words, lambda found: f"({self.named[found[0]]})", masked)
        return withhold_people(masked)[:LONGEST_LINE]


def secrets_of(url: str) -> set[str]:
    """The URL and its password, where it holds a secret at all: a path is none."""
    if redacted(url) == url:
        return set()
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        password = ""
    return {url, password, unquote(password)}


def _parts_of(value: str) -> Iterator[str]:
    for text in (value, *value.splitlines(), *secrets_of(value)):
        if len(text.strip()) >= SHORTEST_VALUE:
            yield text.strip()
