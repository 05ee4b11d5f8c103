"""The words of the domain: names, manifests, contact states, outcomes, journal, settings; here values as JSON has them.

Sequences and mappings are read-only, so that a list of texts is JSON as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
