"""Readers of each sink that are not ours, and what they make of an output: its structure, and the texts in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

_ESCAPE = re.compile(r"\\\\|\\u\{([0-9a-f]+)\}|\\")


def recovered(shown: str) -> str:
    """The text behind what `visible` shows, written from its description and not from its code."""
    return _ESCAPE.sub(_meant, shown)


def _meant(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return "\\" if found[0] == "\\\\" else ""


@dataclass(frozen=True, slots=True)
class Judged:
    """`structure` must not depend on a text; `texts` are those between its parts."""

    structure: Sequence[object]
    texts: Sequence[str]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[object] = []
        self.texts: list[str] = [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._part(("start", tag, *(name for name, _ in attrs)))
        self.texts += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_endtag(self, tag: str) -> None:
        self._part(("end", tag))

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self._part(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self._part(("declaration", decl))

    def handle_pi(self, data: str) -> None:
        self._part(("instruction", data))

    def unknown_decl(self, data: str) -> None:
        self._part(("unknown", data))

    def _part(self, part: object) -> None:
        self.parts.append(part)
        self.texts.append("")


def of_html(text: str) -> Judged:
    page = _Page()
    page.feed(text)
    page.close()
    return Judged(page.parts, page.texts)


def of_markdown(text: str) -> Judged:
    """As a forge reads it: CommonMark with tables, strike-through and links found in plain text."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = list(_flat(reader.parse(text)))
    structure = [(token.type, token.tag, token.content if token.type == "html_inline" else "") for token in tokens]
    texts = ["".join(part.content for part in token.children or () if part.type in _TEXT) for token in tokens]
    return Judged([part for part in structure if part[0] not in _TEXT], [text for text in texts if text])


_TEXT = ("text", "text_special")


def _flat(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or ())


def of_csv(text: str) -> Judged:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert text.count("\r\n") == len(rows), "a record is a line"
    assert "\r" not in text.replace("\r\n", "")
    assert "\n" not in text.replace("\r\n", "")
    return Judged([len(row) for row in rows], [cell.removeprefix("'") for row in rows for cell in row])


def formulas(text: str) -> list[str]:
    """The cells that a spreadsheet would compute, or run (OWASP, CSV injection; and the full-width signs)."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    return [cell for cell in cells if cell.strip()[:1] in tuple("=+-@\t\r＝＋－＠") and not cell.startswith("'")]


def commands(text: str) -> list[str]:
    """The lines that a CI runner would act on.

    GitHub: `::name` at the beginning of a line, after blanks (ActionCommand.TryParseV2), or `##[name]` anywhere (V1).
    Azure Pipelines: `##vso[` anywhere, and `##[` for formatting.
    """
    lines = re.split(r"\r\n|[\n\r\u2028\u2029\x85]", text)
    return [
        line for line in lines if line.lstrip("\ufeff\u200b \t").startswith("::") or "##[" in line or "##vso[" in line
    ]


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    properties: tuple[tuple[str, str], ...]
    data: str


_COMMAND = re.compile(r"::(?P<name>[a-z-]+)(?: (?P<properties>[^:]*))?::(?P<data>.*)")


def of_workflow(text: str) -> list[Command]:
    """Workflow commands as GitHub's runner reads them: a line each."""
    found = []
    for line in text.splitlines():
        matched = _COMMAND.fullmatch(line)
        assert matched, f"{line!r} is no command"
        pairs = (pair.partition("=") for pair in (matched["properties"] or "").split(","))
        properties = tuple((key, _decoded(value)) for key, _, value in pairs)
        found.append(Command(matched["name"], properties, _decoded(matched["data"])))
    return found


def _decoded(text: str) -> str:
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text
