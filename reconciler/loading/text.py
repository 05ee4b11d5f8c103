"""From bytes to text that can be shown with line and column.

Rules
1. UTF-8, with or without a byte order mark; everything else is refused where it stops being UTF-8.
2. No control character but tab and line end; no line end but LF and CRLF, so that our lines are those of an editor.
3. At most `MAX_BYTES` and `MAX_LINES`: larger contact sets belong in contact files.
"""

from __future__ import annotations

import re

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


def decode(data: bytes, path: str) -> str:
    """The text of a manifest or settings file, without its byte order mark; raises InvalidInput with the place."""
    if len(data) > MAX_BYTES:
        raise _refused(Source(path), "size", f"larger than {MAX_BYTES:,} bytes, the limit of a manifest", _TOO_LARGE)
    if is_lfs_pointer(data):
        raise _refused(Source(path, 1, 1), "git-lfs", LFS, LFS_ELSEWHERE)
    if is_utf_16(data):
        raise _refused(Source(path, 1, 1), "encoding", UTF_16, SAVE_AS_UTF_8)
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise _refused(*_not_utf8(data, error, path)) from None
    if (found := _FORBIDDEN.search(text)) is not None:
        raise _refused(*_forbidden(text, found, path))
    if text.count("\n") > MAX_LINES:
        raise _refused(
            Source(path, MAX_LINES + 1, 1), "size", f"more than {MAX_LINES:,} lines in a manifest", _TOO_LARGE
        )
    return text


def is_utf_16(data: bytes) -> bool:
    """Whether the bytes begin as a text in UTF-16 does."""
    return _UTF_16.match(data) is not None


def is_lfs_pointer(data: bytes) -> bool:
    """Whether the bytes begin as what Git LFS leaves in place of a file that it did not bring."""
    return _LFS.match(data) is not None


def place(text: str, index: int, path: str) -> Source:
    """Line and column of the character at `index`."""
    return Source(path, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _refused(source: Source, check: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(source, message, check, hint=hint)])


def _not_utf8(data: bytes, error: UnicodeDecodeError, path: str) -> tuple[Source, str, str, str]:
    before = data[: error.start].decode("utf-8").removeprefix(_BOM)
    source = place(before, len(before), path)
    return source, "encoding", f"not UTF-8: byte 0x{data[error.start]:02x}", SAVE_AS_UTF_8


def _forbidden(text: str, found: re.Match[str], path: str) -> tuple[Source, str, str, str]:
    source = place(text, found.start(), path)
    if found.group() == "\r":
        message = "a carriage return without a line feed" if "\n" in text else OLD_LINE_ENDS
        return source, "encoding", message, END_WITH_LF
    return source, "encoding", f"control character U+{ord(found.group()):04X}", "remove it"
