"""Text that leaves for readers: harmless in a line, in JSON and in an address, and without secrets in a command line.

Laws
1. No id leaves its place in a contact's address; any character of it but a letter or digit is percent-encoded.
2. No password and no token is in a command line that is shown, wherever it stood.
3. No address and no number of a person is in a problem of the input, wherever it stood.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.model.names import ContactId, Instant, LocationId, are_plain

_MARKS = re.compile(r"(:(?=:)|#(?=#))")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_USERINFO = re.compile(r"(?s)(?<!sqlite)(?<!s3)(?<!az)(?<!gs)(?<!file)(://)(?!/)([\w.-]+:|).*@")
"""A user and a password, which may hold any character, a slash too; the address of a file or a bucket has neither."""
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key|sig)[^=&]*=)[^&]*")
LOCATION, CONTACT = "{location_id}", "{contact_id}"

LONGEST = 500
_PLACE = r"(?:[A-Za-z0-9._~/%?&=+,;-]|\{location_id\}|\{contact_id\})*"
_TEMPLATE = re.compile(rf"https://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]{{1,5}})?/{_PLACE}(?:#{_PLACE})?")
_SPECIAL = re.compile(r"[^A-Za-z0-9_~-]")
PROGRAM = "reconciler"
_STARS = "***"
_USER = re.compile(r"(?<=://).*@", re.DOTALL)
"""The text before a host: a user and a password, which may hold any character."""

_TOKEN = re.compile(r"\bpit-[0-9A-Fa-f-]{8,}|\beyJ[\w-]{8,}(?:\.[\w-]*)*")
"""A token of a private integration, and a JSON Web Token."""

NOT_SHOWN = "(not shown)"
"""Stands for a value that may tell a person."""
_OF_ADDRESSES = r"[^\s@'\"`<>(),;=\[\]{}]"
# each begins where nothing before it belongs to it: a long text is looked through once
_ADDRESS = re.compile(rf"(?<!{_OF_ADDRESSES}){_OF_ADDRESSES}+(?:@+{_OF_ADDRESSES}+)+")
_INTERNATIONAL = re.compile(r"[+＋]\d[\d\s().\-/]{5,}\d")
_NUMBER = re.compile(r"'?[+＋]?[\d\s().,\-/]{5,}(?:[eE]\+?\d{1,3})?")
"""A phone number, or another one that is long enough to tell a person by it, as spreadsheets write it too."""


def withhold_people(text: str) -> str:
    """The text without the e-mail addresses and the international phone numbers in it."""
    # nearly no text has one
    if "@" not in text and "+" not in text and "＋" not in text:
        return text
    return _INTERNATIONAL.sub(NOT_SHOWN, _ADDRESS.sub(NOT_SHOWN, text))


def tells_person(text: str) -> bool:
    """Whether the text holds an e-mail address, is a number that may be a phone's, or has words, as a name has."""
    return " " in text or _ADDRESS.search(text) is not None or _NUMBER.fullmatch(text) is not None


def printable(text: str) -> str:
    """The text in one line, as readers see it.

    A character that is not printable, or turns the direction of writing, is shown as `\\u{…}`, and so is a mark at the
    beginning, which would combine with the text before it; a backslash is doubled, so that the text can be recovered.
    """
    # a mark at the beginning would change the character that our own text put before it
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


def quoted(text: str) -> str:
    """The text between quotes, for a sentence that is shown as `visible` or `printable` has it.

    They double a backslash, as `repr` does: a path would come out with four.
    """
    return repr(text).replace("\\\\", "\\") if text.isprintable() else repr(text)


def json_line(document: object) -> str:
    """The document as one line of ASCII, for any terminal and any tool, with its new line.

    `##` opens a command of Azure Pipelines wherever it stands in a line. In JSON it can only stand in a string, where
    an escape says the same.
    """
    # ASCII: a control character in a text of the CRM reaches no terminal as such
    return without_commands(json.dumps(document, separators=(",", ":"), ensure_ascii=True)) + "\n"


def list_text(texts: Sequence[str], comma: str = ",") -> str:
    """The JSON of a list, as `json.dumps` has it with this between its items."""
    # nearly all lists are of ids: in letters and digits nothing needs an escape
    if are_plain("".join(texts)):
        between = f'"{comma}"'
        return f'["{between.join(texts)}"]'
    return json.dumps(texts, separators=(comma, ":"))


def without_commands(text: str) -> str:
    """JSON that says the same, and opens no command of Azure Pipelines."""
    return text.replace("##", r"#\u0023")


def _shown(char: str) -> str:
    if char == "\\":
        return "\\\\"
    return _code(char) if unicodedata.category(char) in _HIDDEN else char


def _code(char: str) -> str:
    return f"\\u{{{ord(char):x}}}"


def _combines(char: str) -> bool:
    # no mark comes before the combining diacritics
    return char >= "\u0300" and unicodedata.category(char).startswith("M")


def redacted(url: str) -> str:
    """A state URL without its password and without parameters that look like secrets.

    A user without a password may be a token, and is left out too.
    """
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1\2***@", url))


def is_contact_url(template: str) -> bool:
    """Whether the template makes an https address, with the contact's id in it and no placeholder but the two."""
    return len(template) <= LONGEST and CONTACT in template and _TEMPLATE.fullmatch(template) is not None


def contact_page(template: str, location: LocationId, contact: ContactId) -> str:
    return template.replace(LOCATION, _encoded(location)).replace(CONTACT, _encoded(contact))


def _encoded(text: str) -> str:
    """An encoded text has no brace: it is never taken for a placeholder."""
    # half of a surrogate pair, which an answer may hold, has no UTF-8 of its own: it is replaced
    return _SPECIAL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a report came to be."""

    at: Instant
    """When it was made."""
    commit: str
    """The commit that the manifests were checked out at; empty where it read none, or Git tells none."""
    version: str
    """The version of reconciler."""
    command: str
    """The command line for a shell, without passwords and tokens."""


def command_line(arguments: Sequence[str]) -> str:
    """The command with these arguments, as a person types it; `***` stands for each secret."""
    return words_text([PROGRAM, *arguments])


def words_text(words: Sequence[str]) -> str:
    """A program and its arguments, as a person types them; `***` stands for each secret."""
    return shlex.join(map(_without_secrets, words))


def path_word(path: object) -> str:
    """A path as a word of a command line, which no command takes for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _without_secrets(argument: str) -> str:
    # a URL's user part goes as a whole: a token alone may stand there, without a password
    return _TOKEN.sub(_STARS, redacted(_USER.sub(f"{_STARS}@", argument)))
