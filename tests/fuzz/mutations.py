"""Valid documents damaged: by their structure, by their text, by their bytes. The same seed gives the same damage.

Half of the damage leaves a document that parses, so that what lies behind the parser is reached: a value of another
type, a member that lacks, two that changed places. The other half does not.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

BIG = 10**400
DEEP = 3_000
"""Brackets within one another: more than Python recurses."""

TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[31m",
    "\r\n",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ufffe",
    "\ud800",
    "\udfff\ud800",
    "\x7f\x85",
    "ß\u0307",
    "İ",
    "9" * 5_000,
    "x" * 20_000,
    "-0",
    "1e999",
    "nan",
    "0x10",
    "null",
    "2026-02-30",
    "0000-00-00T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00",
    "20260101",
    "2026-W01-1",
    "../../etc/passwd",
    "C:\\x",
    "a:0:0",
    "a:99999999999999999999:1",
    ":1:1",
    "::error::x",
    "<b>",
    "{{7*7}}",
    "{",
    "[",
    '"',
    "\\",
    "%s%n%00",
    "Europe/Berlin",
    "/etc/localtime",
    "1d",
    "1.0",
    "2.0",
    "1.99999999999999999999",
    "٣",
    "１２",
)
PLAIN = (None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, BIG, -BIG, 0.5, -0.0, 1e308, 5e-324)
UNUSUAL = (
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    [{}],
    [None],
    {"": None},
    {"a": {"a": []}},
    ["x"] * 50,
)
BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1a",
    b"\x1b[2J",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b'"',
    b"'",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"- ",
    b"# ",
    b"&a ",
    b"*a",
    b"!!int ",
    b"!x ",
    b"<<: ",
    b"? ",
    b"| ",
    b"> ",
    b"--- ",
    b"...\n",
    b"%YAML 1.1\n",
    b"@",
    b"`",
    b"null",
    b"true",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"9" * 400,
    b"9" * 5_000,
    b"2026-02-30",
)


def damage(random: Random, whole: bytes) -> bytes:
    """The JSON document with one to three faults of structure, and one of its text every fourth time."""
    document = json.loads(whole)
    holder = [document]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        damage_tree(random, holder)
    text = json.dumps(holder[0], ensure_ascii=random.random() < 0.8).encode("utf-8", "surrogatepass")
    kind = random.random()
    if kind < 0.08:
        return double_key(random, text)
    return damage_bytes(random, text) if kind < 0.25 else text


def damage_tree(random: Random, holder: list[Any]) -> None:
    """Changes one place below `holder`, a list of the document alone, in place."""
    parent, key = a_place(random, holder)
    match random.randrange(8):
        case 0 | 1 | 2:
            parent[key] = a_value(random)
        case 3 if parent is not holder:
            del parent[key]
        case 4:
            other, name = a_place(random, holder)
            # a copy: a document that contains itself is none
            parent[key], other[name] = _copy(other[name]), _copy(parent[key])
        case 5 if isinstance(parent, list) and parent is not holder:
            parent[key:key] = [_copy(parent[key]) for _ in range(random.choice((1, 2, 60)))]
        case 6 if isinstance(parent, dict):
            parent[random.choice(TEXTS)] = parent.pop(key)
        case 7:
            parent[key] = _other_type(parent[key])
        case _:
            parent[key] = a_value(random)


def a_place(random: Random, holder: list[Any]) -> tuple[Any, Any]:
    """A place of the tree, as what holds it and its key: mostly a deep one."""
    parent: Any = holder
    key: Any = 0
    while (below := parent[key]) and isinstance(below, list | dict) and random.random() < 0.85:
        parent, key = below, random.randrange(len(below)) if isinstance(below, list) else random.choice(list(below))
    return parent, key


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value)) if isinstance(value, list | dict) else value


def _other_type(value: Any) -> Any:
    """The same value as another type has it, which a lenient reader would take."""
    match value:
        case bool():
            return int(value)
        case int() | float():
            return str(value)
        case str():
            return [value]
        case list():
            return dict(enumerate(value)) if value else {}
        case dict():
            return list(value.values())
    return "null"


def a_value(random: Random) -> Any:
    kind = random.random()
    if kind < 0.5:
        return random.choice(TEXTS)
    # a copy: what is put in may be damaged too
    return random.choice(PLAIN) if kind < 0.85 else _copy(random.choice(UNUSUAL))


def double_key(random: Random, text: bytes) -> bytes:
    """The text with a member of an object there twice, the second time with another value."""
    start = text.find(b'{"', random.randrange(len(text) + 1)) + 1
    # there may be none after that place, or one within a text
    if not start or not (end := text.find(b'"', start + 1) + 1):
        return text
    key = text[start:end]
    value = json.dumps(a_value(random)).encode()
    return text[:start] + key + b": " + value + b", " + text[start:]


def damage_bytes(random: Random, whole: bytes) -> bytes:
    """The bytes cut, doubled, flipped, or with something put in: one to three times."""
    for _ in range(random.choice((1, 1, 2, 3))):
        start = random.randrange(len(whole) + 1)
        end = min(len(whole), start + random.choice((0, 1, 1, 2, 8, 60)))
        match random.randrange(8):
            case 0:
                whole = whole[:start]
            case 1:
                whole = whole[:end] + whole[start:]
            case 2 if start < len(whole):
                whole = whole[:start] + bytes([whole[start] ^ (1 << random.randrange(8))]) + whole[start + 1 :]
            case 3:
                whole = whole[:start] + random.choice((b"[", b"{", b'{"a":', b"- ")) * DEEP + whole[end:]
            case 4:
                other = random.randrange(len(whole) + 1)
                whole = whole[:start] + whole[other : other + 40] + whole[end:]
            case _:
                whole = whole[:start] + random.choice(BYTES) + whole[end:]
    return whole


def damage_lines(random: Random, whole: bytes) -> bytes:
    """The lines in another order, doubled, without one, or one of them indented otherwise; or a text within a line."""
    lines = whole.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        place, other = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                lines.insert(other, lines[place])
            case 1 if len(lines) > 1:
                del lines[place]
            case 2:
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = b" " * random.choice((1, 2, 7)) + lines[place]
            case 4:
                lines[place] = lines[place].lstrip()
            case 5:
                head, colon, _ = lines[place].partition(b": ")
                text = random.choice(TEXTS).encode("utf-8", "surrogatepass")
                lines[place] = head + colon + random.choice((text, json.dumps(a_value(random)).encode()))
            case _:
                lines[place] = damage_bytes(random, lines[place])
    return b"\n".join(lines)
