"""From YAML text to nodes: text, lists and mappings, each with its place.

Rules
1. Scalars stay text: nothing is typed here (`no`, `012`, `null` are these very texts).
2. Everything that can surprise a reader is refused: anchors, aliases, merge keys, explicit tags, directives, several
   documents, duplicate keys, keys that are not text, nesting deeper than `MAX_DEPTH`.
3. Everything that YAML 1.2 forbids is refused, also where the parser (YAML 1.1) is lenient; see `yaml_mistakes`.
4. No exception but InvalidInput, with line and column; never more than `MAX_VALUES` values in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import yaml

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source
from reconciler.loading.files import place_at
from reconciler.loading.yaml_mistakes import COMMENT, Strictness, find_mistake

MAX_DEPTH = 20
MAX_VALUES = 400_000
MAX_PROBLEMS = 100

FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser; where PyYAML was built without it, the slow one that reads the same language."""

# the parsers raise these beside YAMLError on hostile input (seen with the pure one)
_ESCAPES = (ValueError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text."""

    text: str
    source: Source
    plain: bool = True
    """Written without quotes."""
    commented: bool = False
    """Followed by a blank and a `#` on its line."""

    @property
    def nothing(self) -> bool:
        """Whether no value is written here at all, as after `tags:`."""
        return self.plain and not self.text


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with their values."""

    items: dict[str, tuple[Scalar, Node]]
    """For each key its node and its value, in the order written."""
    source: Source

    def get(self, key: str) -> Node | None:
        entry = self.items.get(key)
        return None if entry is None else entry[1]


Node = Scalar | Sequence | Mapping
Plain: TypeAlias = "str | Sequence | list[Plain] | dict[str, Plain]"
"""A node without its place; of the nodes, only lists of contact ids stay in it."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's only document, and its problems."""

    root: Node | None
    """None where the file has no document, or none that can be used."""
    problems: tuple[Problem, ...]


def parse_nodes(text: str, path: str, *, loader: Any = FAST_LOADER) -> Parsed:
    """The nodes of a text that `decode_text` let through."""
    builder = _Builder(text, path)
    events: Any = yaml.parse(text, Loader=loader)
    try:
        for event in events:
            builder.take_event(event)
    except yaml.YAMLError as error:
        mistake = find_mistake(error, text)
        builder.stop(Source(path, mistake.line, mistake.column), "yaml", mistake.message, mistake.hint)
    except _ESCAPES as error:
        builder.stop(Source(path, 1, 1), "yaml", f"not YAML: {error}")
    finally:
        events.close()
    return Parsed(builder.root, tuple(builder.problems))


def find_first(key: str, text: str) -> tuple[Scalar, int] | None:
    """The value of a key of the outermost mapping, and where it ends; the text behind it is not read.

    None where it is no scalar, where something up to there is refused, and where nothing has the key.
    """
    builder = _Builder(text, "")
    events: Any = yaml.parse(text, Loader=FAST_LOADER)
    try:
        for event in events:
            builder.take_event(event)
            if (found := builder.find_top(key)) is not None:
                if builder.problems or not isinstance(found, Scalar):
                    return None
                return found, event.end_mark.index
    except (yaml.YAMLError, *_ESCAPES, InvalidInput):
        return None
    finally:
        events.close()
    return None


def plain_mapping(node: Mapping) -> dict[str, Plain]:
    """A mapping as text, lists and dicts, for pydantic."""
    return {
        # a million ids written out pass through as the one node that they are
        name: value if name == "contacts" and isinstance(value, Sequence) else _plain_value(value)
        for name, (_, value) in node.items.items()
    }


def _plain_value(node: Node) -> Plain:
    if isinstance(node, Scalar):
        return node.text
    return [_plain_value(item) for item in node.items] if isinstance(node, Sequence) else plain_mapping(node)


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    source: Source
    flow: bool
    """Written in brackets."""
    indent: int
    """The column of the innermost block collection."""
    entries: dict[str, tuple[Scalar, Node]] | None
    """None in a list."""
    items: list[Node] = field(default_factory=list)
    key: Scalar | None = None
    """The key that waits for its value."""
    start: int = 0
    """The index of the opening bracket in the text."""


class _Builder:
    """Turns the stream of events into nodes; keeps the open collections on a stack of its own."""

    # not by recursion, so that nesting as deep as a file can hold ends in our error, not in Python's

    def __init__(self, text: str, path: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._path = path
        self._text = text
        self._strict = Strictness(text)
        self._stack: list[_Frame] = []
        self._values = 0
        self._documents = 0
        self._end = 0
        self._unusable = False

    def stop(self, source: Source, check: str, message: str, hint: str = "") -> NoReturn:
        raise InvalidInput([*self.problems, Problem(source, message, check, hint=hint)])

    def find_top(self, key: str) -> Node | None:
        """The value of a key of the outermost mapping, as soon as it has one."""
        entries = self._stack[0].entries if len(self._stack) == 1 else None
        return entries[key][1] if entries and key in entries else None

    def take_event(self, event: Any) -> None:
        kind = type(event)
        # the parser gives no events for comments: one can only be between two events
        if (stray := self._strict.find_stray_comment(self._end, event.start_mark.index)) >= 0:
            self.stop(place_at(self._text, stray, self._path), "yaml", COMMENT)
        self._end = event.end_mark.index
        if kind is yaml.ScalarEvent:
            self._add_scalar(event)
        elif kind is yaml.SequenceStartEvent or kind is yaml.MappingStartEvent:
            self._open_collection(event, kind is yaml.MappingStartEvent)
        elif kind is yaml.SequenceEndEvent or kind is yaml.MappingEndEvent:
            self._close_collection(event)
        elif kind is yaml.AliasEvent:
            # nine levels of nine aliases each make a billion nodes of a small file
            self._refuse_event(event, "alias", f"an alias (*{event.anchor}): write the value out")
            self._unusable = True
            self._put_node(Scalar("", self._place_of(event.start_mark)))
        elif kind is yaml.DocumentStartEvent:
            self._begin_document(event)

    def _place_of(self, mark: Any) -> Source:
        return Source(self._path, mark.line + 1, mark.column + 1)

    def _refuse_event(self, event: Any, check: str, message: str) -> None:
        self._add_problem(Problem(self._place_of(event.start_mark), message, check))

    def _add_problem(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            self.stop(problem.source, "yaml", f"more than {MAX_PROBLEMS} problems: the rest of the file is not read")

    def _begin_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self.stop(
                self._place_of(event.start_mark),
                "documents",
                "a second document",
                "one manifest a file: split it",
            )
        if event.version or event.tags:
            self._refuse_event(event, "directive", "a directive (%): leave it out")

    def _refuse_decoration(self, event: Any) -> None:
        if event.anchor is not None:
            self._refuse_event(event, "anchor", f"an anchor (&{event.anchor}): write the value out where it is needed")
        if event.tag is not None:
            self._refuse_event(event, "yaml-tag", f"an explicit YAML tag ({event.tag}): every value is text already")

    def _add_scalar(self, event: Any) -> None:
        plain = event.style in (None, "")
        if event.anchor is not None or event.tag is not None:
            self._refuse_decoration(event)
        # a plain text, as almost every value of a large manifest is, needs no check of its lines
        if not plain or event.value == "-":
            self._check_scalar(event)
        commented = plain and self._strict.has_comment_behind(self._end)
        self._put_node(Scalar(event.value, self._place_of(event.start_mark), plain, commented))

    def _check_scalar(self, event: Any) -> None:
        indent = self._stack[-1].indent if self._stack else -1
        fault = self._strict.check_scalar(event.style, event.start_mark, event.end_mark, indent)
        if fault is not None:
            self.stop(self._place_of(event.start_mark), "yaml", fault)

    def _open_collection(self, event: Any, is_mapping: bool) -> None:
        source = self._place_of(event.start_mark)
        if len(self._stack) >= MAX_DEPTH:
            self.stop(source, "depth", f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None or event.tag is not None:
            self._refuse_decoration(event)
        parent = self._stack[-1] if self._stack else None
        indent = (parent.indent if parent else -1) if event.flow_style else event.start_mark.column
        entries: dict[str, tuple[Scalar, Node]] | None = {} if is_mapping else None
        frame = _Frame(source, bool(event.flow_style), indent, entries, start=event.start_mark.index)
        self._stack.append(frame)

    def _close_collection(self, event: Any) -> None:
        frame = self._stack.pop()
        # the outermost brackets hold the inner ones: all their lines are checked once
        outermost = frame.flow and not (self._stack and self._stack[-1].flow)
        if outermost:
            fault = self._strict.check_flow(frame.start, event.end_mark.index, frame.indent)
            if fault is not None:
                self.stop(frame.source, "yaml", fault)
        if frame.entries is None:
            self._put_node(Sequence(tuple(frame.items), frame.source))
        else:
            self._put_node(Mapping(frame.entries, frame.source))

    def _put_node(self, node: Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            hint = "put the contacts into a file beside the manifest"
            self.stop(node.source, "size", f"more than {MAX_VALUES:,} values in a manifest", hint)
        # an alias or a merge key leaves a gap: errors that follow from it are none of the author's
        if not self._stack:
            self.root = None if self._unusable else node
            return
        frame = self._stack[-1]
        if frame.entries is None:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = self._check_key(node)
        else:
            self._add_entry(frame.entries, frame.key, node)
            frame.key = None

    def _check_key(self, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            self.stop(node.source, "key", "a key must be text, not a list or a mapping")
        return node

    def _add_entry(self, entries: dict[str, tuple[Scalar, Node]], key: Scalar, node: Node) -> None:
        if key.text == "<<" and key.plain:
            self._add_problem(Problem(key.source, "a merge key (<<): write the keys out", "merge-key"))
            self._unusable = True
        elif key.text in entries:
            first = entries[key.text][0].source
            self._add_problem(
                Problem(key.source, f"key {key.text!r} is given twice, first at {first}", "duplicate-key")
            )
        else:
            entries[key.text] = (key, node)
