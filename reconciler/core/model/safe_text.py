"""Outside text made harmless: for a line of a terminal or a log, and inside the strings of a JSON document."""

from __future__ import annotations

import json
import re
import unicodedata

_MARKS = re.compile(r"(:(?=:)|#(?=#))")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(text: str) -> str:
    """The text in one line, as readers see it: what is not printable, or turns the direction of writing, is shown as
    `\\u{…}`, and so is a mark at its beginning, which would combine with what stands before it; a backslash is doubled,
    so that the text can be recovered.
    """
    bare = _combines(text[:1])
    if text.isprintable() and "\\" not in text and not bare:
        return text
    return (_code(text[0]) if bare else "") + "".join(map(_shown, text[1:] if bare else text))


def visible(text: str) -> str:
    """The text in one line, with nothing in it that a terminal or a CI runner would act on.

    As `printable`; and the marks of a CI runner's commands (`::`, `##`) are parted by a backslash, wherever they are: a
    runner skips blanks before them, or looks for them in the middle of a line, and a renderer folds lines.
    """
    shown = printable(text)
    return _MARKS.sub(r"\1\\", shown) if "::" in shown or "##" in shown else shown


def json_line(document: object) -> str:
    """The document as one line of ASCII, for any terminal and any tool, with its new line.

    `##` opens a command of Azure Pipelines wherever it stands in a line. In JSON it can only stand in a string, where
    an escape says the same.
    """
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return text.replace("##", r"#\u0023") + "\n"


def _shown(char: str) -> str:
    if char == "\\":
        return "\\\\"
    return _code(char) if unicodedata.category(char) in _HIDDEN else char


def _code(char: str) -> str:
    return f"\\u{{{ord(char):x}}}"


def _combines(char: str) -> bool:
    # no mark comes before the combining diacritics
    return char >= "\u0300" and unicodedata.category(char).startswith("M")
