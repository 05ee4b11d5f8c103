"""From pydantic's errors to our problems: the place in the file, the mistake, and the probable intention as a hint."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from reconciler.core.model.errors import Problem
from reconciler.core.model.names import Source, closest_name, did_you_mean, looks_like_contact_id
from reconciler.loading.fields import describe_kind
from reconciler.loading.file_tree import ENDINGS
from reconciler.loading.nodes import Mapping, Node, Plain, Scalar
from reconciler.loading.nodes import Sequence as SequenceNode

_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "union_tag_not_found": "a list of contact ids, or a mapping with `file`, `source`, `filter` or `sets`",
}

MAX_MISTAKES = 100

Location = Sequence[int | str]


def list_problems(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Problem]:
    """A problem for each error, with its place in the nodes; the first `MAX_MISTAKES`, and the number of the others."""
    details = error.errors(include_url=False)
    misspelt = _misspelt_keys(details, model)
    # one mistake of a person may be two of pydantic's errors: only the one with the better hint is kept
    kept = [
        detail for detail in details if not (_belongs_below(detail["loc"], root, model) or detail["loc"] in misspelt)
    ]
    listed = [_build_problem(detail, root, model) for detail in kept[:MAX_MISTAKES]]
    if len(kept) > MAX_MISTAKES:
        more = f"and {len(kept) - MAX_MISTAKES:,} more problems from here on"
        listed.append(Problem(locate_value(root, kept[MAX_MISTAKES]["loc"]), more, "value"))
    return listed


def _build_problem(detail: ErrorDetails, root: Node, model: type[BaseModel]) -> Problem:
    location, rule = detail["loc"], detail["type"]
    place = locate_value(root, location, of_key=rule == "extra_forbidden")
    if rule == "extra_forbidden":
        keys = keys_at(model, location[:-1])
        hint = did_you_mean(str(location[-1]), keys) or _list_keys(keys)
        return Problem(place, f"unknown key {location[-1]!r}", "unknown-key", hint=hint)
    if rule == "missing":
        return Problem(place, f"key {location[-1]!r} is missing", "missing-key")
    return Problem(place, _describe_detail(detail), "value", hint=_find_hint(detail, root, model))


def _list_keys(keys: Sequence[str]) -> str:
    # a condition of a filter: most probably a custom field was meant
    custom = "a custom field is written {field: plan, eq: gold}; " if "any" in keys else ""
    return f"{custom}known keys: {', '.join(keys)}"


def _holds_people(location: Location) -> bool:
    """Whether what is written there is, or has in it, the contacts of a set: no text of it is repeated."""
    # a set whose colons lack their blanks is one text, contacts and all
    return not location or (location[0] == "contact_sets" and (len(location) <= 2 or location[2] == "contacts"))


def _describe_detail(detail: ErrorDetails) -> str:
    rule, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    is_shown = not _holds_people(detail["loc"])
    if rule == "ours":
        found = context.get("found" if is_shown else "withheld")
        return f"{context['message']}, found {found}" if found else str(context["message"])
    if rule in _WANTED:
        return f"expected {_WANTED[rule]}, found {describe_kind(value, is_shown=is_shown)}"
    if rule == "enum":
        # pydantic quotes each member, which needs no quotes in YAML
        expected = str(context["expected"]).replace(chr(39), "")
        return f"expected {expected}, found {describe_kind(value, is_shown=is_shown)}"
    if rule == "greater_than_equal":
        return f"expected at least {context['ge']}, found {value}"
    if rule == "less_than_equal":
        return f"expected at most {context['le']}, found {value}"
    if rule == "too_short":
        return "expected at least one, found an empty list"
    # a rule that a definition got and this list did not: pydantic's words are better than none
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _misspelt_keys(details: Iterable[ErrorDetails], model: type[BaseModel]) -> set[tuple[int | str, ...]]:
    """The missing keys that were probably meant by unknown ones; only the unknown ones are reported."""
    # `locaton: x` is an unknown key and leaves `location` missing: the hint of the first is enough
    missing = {detail["loc"] for detail in details if detail["type"] == "missing"}
    unknown = (detail["loc"] for detail in details if detail["type"] == "extra_forbidden")
    return missing & {(*at[:-1], closest_name(str(at[-1]), keys_at(model, at[:-1]))) for at in unknown}


def _belongs_below(location: Location, root: Node, model: type[BaseModel]) -> bool:
    """Whether the entry is a key that belongs below its empty neighbour; only the neighbour is reported."""
    entries = node_at(root, location[:1])
    if len(location) < 2 or not isinstance(entries, Mapping) or str(location[1]) not in entries.items:
        return False
    # a set's keys that are not indented become its siblings, and the set itself is empty
    lost = _keys_of_entries(model, location)
    return str(location[1]) in lost and any(
        isinstance(value, Scalar) and value.nothing and key not in lost for key, (_, value) in entries.items.items()
    )


def _keys_of_entries(model: type[BaseModel], location: Location) -> tuple[str, ...]:
    return keys_at(model, (location[0], "(any)"))


def _find_hint(detail: ErrorDetails, root: Node, model: type[BaseModel]) -> str:
    """The probable intention, where the parser reads a text otherwise than a person does."""
    rule, location, node = detail["type"], detail["loc"], node_at(root, detail["loc"])
    if isinstance(node, Scalar) and node.nothing:
        if node.commented:
            return "`#` begins a comment: a text that begins with it needs quotes, such as '#vip'"
        lost = _keys_of_entries(model, location) if len(location) == 2 else ()
        entries = node_at(root, location[:1])
        if isinstance(entries, Mapping) and (beside := [key for key in entries.items if key in lost]):
            return f"indent deeper than {str(location[1])!r} what belongs to it: {', '.join(beside)}"
    # to YAML, `- wa: 521` in a list of tags is a mapping
    if rule == "string_type" and isinstance(node, Mapping) and len(node.items) == 1:
        return "a text that holds ': ' needs quotes, such as 'wa: 521'"
    if rule in _WANTED and isinstance(node, Scalar) and not node.nothing:
        if location[-1] == "command":
            return _hint_at_command(node.text)
        return _hint_at_glued(node.text) or _hint_at_text(rule, node.text, is_shown=not _holds_people(location))
    if rule in ("dict_type", "model_type") and isinstance(node, SequenceNode):
        return "leave the dashes out: each name is a key here, with a colon behind it"
    return ""


def _hint_at_glued(text: str) -> str:
    """A hint for a text that lacks the blanks that would make it a list, or keys with values."""
    if re.match(r"-\S", text):
        return "a blank is missing after the dash of each line"
    key = re.match(r"([\w-]+):\S", text)
    return f"a blank is missing after the colon of {key[1][:60]!r}" if key else ""


def _hint_at_text(rule: str, text: str, *, is_shown: bool) -> str:
    """A hint for a text in the place of a list or a mapping."""
    if rule == "list_type":
        return f"write it as a list: [{text[:60]}]" if is_shown else "write it as a list: in square brackets"
    if rule != "union_tag_not_found":
        return ""
    if text.lower().endswith(ENDINGS):
        return f"to take the contacts from a file: {{file: {text[:60]}}}"
    ids = re.split(r"[\s,;]+", text.strip())
    if all(map(looks_like_contact_id, ids)):
        return f"write it as a list: [{', '.join(ids[:2])}{', …' if len(ids) > 2 else ''}]"
    return "write ids as a list, a file as {file: contacts.csv}, other sets as {sets: [vip]}"


def _hint_at_command(text: str) -> str:
    """A hint for a line of a shell in the place of a list of words."""
    if re.search(r"[|<>;&`$*]", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)):
        return "no shell reads it: write its words as a list, or name one: [sh, -c, the line in quotes]"
    try:
        words = ", ".join(map(_write_word, shlex.split(text)))
    except ValueError:
        # a quote that is open
        words = ""
    return f"write its words as a list: [{words or 'program, argument'}]"


def _write_word(word: str) -> str:
    """The word as YAML's flow style has it."""
    is_plain = re.fullmatch(r"-{0,2}[\w./][\w./=@+-]*", word)
    return word if is_plain else json.dumps(word, ensure_ascii=False)


def node_at(root: Node, location: Location) -> Node | None:
    """The node that is written at `location`; None where there is none."""
    node: Node = root
    for part in location:
        if isinstance(node, Mapping) and str(part) in node.items:
            node = node.items[str(part)][1]
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            return None
    return node


def locate_value(root: Node, location: Location, *, of_key: bool = False) -> Source:
    """The place of the value at `location`, or of its key: where asked for, and where the value is no written text.

    Parts that name no key (the alternatives of a union, a key that is missing) are passed over.
    """
    node, place, key_place = root, root.source, root.source
    for part in location:
        # the tag of a union's alternative and a missing key stand in pydantic's location, and in no node
        if isinstance(node, Mapping) and str(part) in node.items:
            key, node = node.items[str(part)]
            key_place = key.source
            place = node.source if isinstance(node, Scalar) and not node.nothing else key_place
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = key_place = node.source
    return key_place if of_key or location[-1:] == ("[key]",) else place


def keys_at(annotation: Any, location: Location) -> tuple[str, ...]:
    """The keys that a mapping at `location` below a definition may have."""
    if get_origin(annotation) is Annotated:
        return keys_at(get_args(annotation)[0], location)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        if not location:
            return tuple(fields)
        return keys_at(fields[str(location[0])], location[1:]) if str(location[0]) in fields else ()
    if get_origin(annotation) in (dict, list):
        return keys_at(get_args(annotation)[-1], location[1:])
    if get_origin(annotation) in (Union, UnionType):
        return _keys_of_union(get_args(annotation), location)
    return ()


def _keys_of_union(members: Sequence[Any], location: Location) -> tuple[str, ...]:
    for member in members:
        tags = [extra.tag for extra in get_args(member)[1:] if isinstance(extra, Tag)]
        if tags and location and tags[0] == location[0]:
            return keys_at(member, location[1:])
        if not tags and member is not NoneType and (keys := keys_at(member, location)):
            return keys
    return ()


def _mend_item(sets: Plain | None, location: Location) -> bool:
    """Puts a sound item in the place of a wrong one in a set's list of words; whether the error lay there."""
    match tuple(location):
        case "contact_sets", name, "tags" | "absent" | "ignore" as key, int(place), *_:
            entry = sets.get(str(name)) if isinstance(sets, dict) else None
            words = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(words, list):
                words[place] = "sound"
                return True
    return False


def cut_out(data: dict[str, Plain], locations: Iterable[Location]) -> set[str]:
    """Takes every part with an error out of `data`; returns the names of the contact sets that are not as written."""
    # of a list of tags only the wrong one is replaced, so that the set's other mistakes are reported too
    broken: set[str] = set()
    for location in locations:
        top = data.get(str(location[0]))
        if location[0] == "contact_sets":
            broken.update(map(str, location[1:2]))
        if _mend_item(top, location):
            continue
        if len(location) > 1 and isinstance(top, dict):
            top.pop(str(location[1]), None)
        else:
            data.pop(str(location[0]), None)
    return broken
