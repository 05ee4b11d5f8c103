"""Placeholders in texts: those that stand where nothing is put in, and braces that were probably meant for one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.names import Source, closest_name
from reconciler.loading.nodes import Mapping as MappingNode
from reconciler.loading.nodes import Node
from reconciler.loading.nodes import Sequence as SequenceNode

PLACEHOLDER = "placeholder"
"""The check of texts that nothing can be put into."""
PLACEHOLDER_FORM = re.compile(r"\{(location|client\.[^{}]*)\}")
# a variable of a shell, and what stands in doubled braces, is of another language
_NAMED_BRACES = re.compile(r"(?<![{$])\{(\s*)([A-Za-z]+)\s*([._/-][^{}]*)?\s*\}(?!\})")
_MEANT = {"location": "{location}", "client": "{client.COLUMN}"}
_LIKENESS, _LIKENESS_WITH_COLUMN = 0.82, 0.7
"""As `clinet` is like `client`, and `clnt` is with a column after it; `action` is less like `location`."""


def find_placeholder(text: str) -> str:
    """The first placeholder of a text, or braces that were probably meant for one; empty where it has none."""
    if found := PLACEHOLDER_FORM.search(text):
        return found.group()
    misspelt = find_misspelt(text)
    return misspelt[0] if misspelt else ""


def find_misspelt(text: str) -> tuple[str, str] | None:
    """The first braces of a text that were probably meant for a placeholder, and which one."""
    for braces in _NAMED_BRACES.finditer(text):
        if PLACEHOLDER_FORM.fullmatch(braces.group()):
            continue
        blank, name, column = braces.groups()
        # `{ clinet }` is as far from a placeholder as anything else that programs have in braces
        likeness = _LIKENESS_WITH_COLUMN if column else 1 if blank else _LIKENESS
        if meant := closest_name(name.lower(), _MEANT, likeness=likeness):
            return braces.group(), _MEANT[meant]
    return None


def list_misplaced(root: MappingNode) -> Iterator[Problem]:
    """Placeholders where nothing is put in: they would be taken for a part of the text."""
    hint = "placeholders stand in the path of a contact file, in values of `where`, and in words of a source"
    for path, source, written in _find_placeholders(root):
        if not _may_hold_placeholder(path):
            yield Problem(source, f"{written!r} stands where nothing is put in", PLACEHOLDER, hint=hint)


def list_unfilled(root: MappingNode) -> Iterator[Problem]:
    """Warnings of placeholders in a manifest of one location: there they are a part of the text."""
    hint = "placeholders are of manifests with `locations`: one with `location: ID` can be written `locations: [ID]`"
    for _, source, written in _find_placeholders(root):
        message = f"{written!r} is text in a manifest of one location, and nothing is put in"
        yield Problem(source, message, PLACEHOLDER, Severity.WARNING, hint)


def _find_placeholders(root: MappingNode) -> Iterator[tuple[tuple[str, ...], Source, str]]:
    """The first placeholder of each text, with the keys that lead there and its place."""
    work: list[tuple[tuple[str, ...], Node]] = [((), root)]
    while work:
        path, node = work.pop()
        if isinstance(node, MappingNode):
            work += [((*path, key), below) for key, (_, below) in node.items.items()]
        elif isinstance(node, SequenceNode):
            # a list of ids may be long, and what is no id is told of each
            work += [(path, item) for item in node.items] if path[-1:] != ("contacts",) else []
        elif found := PLACEHOLDER_FORM.search(node.text):
            yield path, node.source, found.group()[:80]


def _may_hold_placeholder(path: tuple[str, ...]) -> bool:
    return path[0] == "contact_sets" and path[2:3] == ("contacts",) and path[3:4] in (("file",), ("where",))
