"""From bytes to text with lines and columns, and the rules of YAML 1.2 that libyaml, a YAML 1.1 parser, lets pass.

Rules of the text
1. UTF-8, with or without a byte order mark; everything else is refused where it stops being UTF-8.
2. No control character but tab and line end; no line end but LF and CRLF, so that our lines are those of an editor.
3. At most `MAX_BYTES` and `MAX_LINES`: larger contact sets belong in contact files.

Rules of YAML
4. A comment's `#` follows a blank or starts its line.
5. Lines that continue a quoted text or a flow collection are indented by spaces, deeper than the block they are in;
   only a line of closing brackets may stand at that block's own column, as is usual.
6. A lone `-` in a flow collection is no text.
7. Blank lines at the start of a block text are not longer than its first line is indented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source

MAX_BYTES = 16_000_000
MAX_LINES = 300_000

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufdd0-\ufdef\ufffe\uffff]|\r(?!\n)")
_BOM = "\ufeff"
_UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|[\t\n\r -~]\x00[\t\n\r -~]\x00|\x00[\t\n\r -~]\x00[\t\n\r -~]")
"""How UTF-16 begins: with its byte order mark, or with two characters of ASCII."""

_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/")

UTF_16 = "this is UTF-16, which some programs call Unicode"
LFS = "this is a Git LFS pointer; fetch it with `git lfs pull`"
LFS_ELSEWHERE = "of another revision Git itself holds only the pointer: `diff` cannot compare what the file said"
SAVE_AS_UTF_8 = "save the file as UTF-8"
OLD_LINE_ENDS = "lines that end as on old Macs: carriage returns without line feeds"
END_WITH_LF = "end lines with LF or CRLF"
_TOO_LARGE = "put the contacts into a file beside the manifest: contacts: {file: contacts.csv}"


def decode_text(data: bytes, path: str) -> str:
    """The text of a manifest or settings file, without its byte order mark; raises InvalidInput with the place."""
    if len(data) > MAX_BYTES:
        raise _text_error(Source(path), "size", f"larger than {MAX_BYTES:,} bytes, the limit of a manifest", _TOO_LARGE)
    # before the checks below, whose messages would not tell that the file is of another kind
    if is_lfs_pointer(data):
        raise _text_error(Source(path, 1, 1), "git-lfs", LFS, LFS_ELSEWHERE)
    if is_utf_16(data):
        raise _text_error(Source(path, 1, 1), "encoding", UTF_16, SAVE_AS_UTF_8)
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise _text_error(*_describe_not_utf8(data, error, path)) from None
    if (match := _FORBIDDEN.search(text)) is not None:
        raise _text_error(*_describe_forbidden(text, match, path))
    if text.count("\n") > MAX_LINES:
        raise _text_error(
            Source(path, MAX_LINES + 1, 1), "size", f"more than {MAX_LINES:,} lines in a manifest", _TOO_LARGE
        )
    return text


def is_utf_16(data: bytes) -> bool:
    """Whether the bytes begin as a text in UTF-16 does."""
    return _UTF_16.match(data) is not None


def is_lfs_pointer(data: bytes) -> bool:
    """Whether the bytes begin as the pointer that Git LFS leaves in place of a file that it did not fetch."""
    return _LFS.match(data) is not None


def place_at(text: str, index: int, path: str) -> Source:
    """Line and column of the character at `index`."""
    return Source(path, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _text_error(source: Source, check: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(source, message, check, hint=hint)])


def _describe_not_utf8(data: bytes, error: UnicodeDecodeError, path: str) -> tuple[Source, str, str, str]:
    # the place counts characters, not bytes: it is to be found in an editor
    before = data[: error.start].decode("utf-8").removeprefix(_BOM)
    source = place_at(before, len(before), path)
    return source, "encoding", f"not UTF-8: byte 0x{data[error.start]:02x}", SAVE_AS_UTF_8


def _describe_forbidden(text: str, match: re.Match[str], path: str) -> tuple[Source, str, str, str]:
    source = place_at(text, match.start(), path)
    if match.group() == "\r":
        message = "a carriage return without a line feed" if "\n" in text else OLD_LINE_ENDS
        return source, "encoding", message, END_WITH_LF
    return source, "encoding", f"control character U+{ord(match.group()):04X}", "remove it"


_COMMENT = re.compile(r"[ \t]+#")
_CLOSING = re.compile(r"[ \t]*[\]}]+[ \t,]*(?:#.*)?\r?")
_HEADER = re.compile(r"[|>][^\n]*")

COMMENT = "a comment must be set off by a blank: ` #`"
_BLANK = "a blank line longer than the indentation of the text"
_INDENT = "a line that continues {text} must be indented by spaces, deeper than the block it is in"


class Strictness:
    """The checks of YAML 1.2 over one text; each returns None, or a sentence on the fault."""

    def __init__(self, text: str) -> None:
        self._text = text
        # most texts have no comment; then none is looked for behind each value
        self._hashes = "#" in text

    def has_comment_behind(self, end: int) -> bool:
        """Whether a comment follows on the line of a value that ends at `end`."""
        return self._hashes and _COMMENT.match(self._text, end) is not None

    def find_stray_comment(self, start: int, end: int) -> int:
        """The first `#` between two values that neither follows a blank nor starts its line; -1 if there is none."""
        if not self._hashes or start >= end:
            return -1
        at = self._text.find("#", start, end)
        while at >= 0:
            # only the first `#` of a line matters: the others stand in its comment
            if at > 0 and self._text[at - 1] not in " \t\n":
                return at
            line_end = self._text.find("\n", at, end)
            at = self._text.find("#", line_end, end) if line_end >= 0 else -1
        return -1

    def check_scalar(self, style: str | None, start: Any, end: Any, indent: int) -> str | None:
        """Checks a scalar that is quoted, a block, or a lone dash."""
        if style in ("'", '"'):
            return self._check_continued(start.index, end.index, indent, "a quoted text")
        if style in ("|", ">"):
            return self._check_block(start.index, indent)
        return "a lone `-` is no text here: quote it"

    def check_flow(self, start: int, end: int, indent: int) -> str | None:
        """Checks a flow collection from its opening to its closing bracket."""
        lines = self._text[start:end].split("\n")[1:]
        margin = " " * (indent + 1)
        for line in lines:
            if line.startswith(margin) or not line.strip() or line.lstrip().startswith("#"):
                continue
            # YAML 1.2 forbids it, but a closing bracket at the block's own column is the common style
            if line.startswith(margin[1:]) and _CLOSING.fullmatch(line):
                continue
            return _INDENT.format(text="a list or mapping in brackets")
        return None

    def _check_continued(self, start: int, end: int, indent: int, kind: str) -> str | None:
        if "\n" not in self._text[start:end]:
            return None
        margin = " " * (indent + 1)
        lines = self._text[start:end].split("\n")[1:]
        if all(line.startswith(margin) or not line.strip() for line in lines):
            return None
        return _INDENT.format(text=kind)

    def _check_block(self, start: int, outer: int) -> str | None:
        match = _HEADER.match(self._text, start)
        header = match.group() if match else ""
        if self.find_stray_comment(start, start + len(header)) >= 0:
            return COMMENT
        # a header such as `|2` states the indentation: nothing is inferred from the first line
        if any(char.isdigit() for char in header.split("#")[0]):
            return None
        longest = 0
        for line in _lines_from(self._text, start + len(header) + 1):
            if line.strip():
                indent = len(line) - len(line.lstrip(" "))
                return _BLANK if longest > indent > outer else None
            longest = max(longest, len(line.rstrip("\r")))
        return None


def _lines_from(text: str, start: int) -> Iterator[str]:
    while start < len(text):
        end = text.find("\n", start)
        yield text[start : end if end >= 0 else len(text)]
        start = end + 1 if end >= 0 else len(text)
