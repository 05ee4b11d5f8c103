"""Outside text made harmless for a line of a terminal or a log."""

from __future__ import annotations

import unicodedata

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str) -> str:
    """The text in one line, with nothing in it that a terminal or a CI runner would act on.

    What is not printable, or turns the direction of writing, is shown as `\\u{…}`; a backslash is doubled, so that
    the text can be recovered. A text that would start a CI runner's command (`::`) starts with a backslash.
    """
    shown = "".join(map(_shown, text))
    return "\\" + shown if shown.startswith("::") else shown


def _shown(char: str) -> str:
    if char == "\\":
        return "\\\\"
    return f"\\u{{{ord(char):x}}}" if unicodedata.category(char) in _HIDDEN else char
