"""A document's rows as CSV (RFC 4180, UTF-8), for a spreadsheet or a script.

Rules
1. A record is a line: a character that is not printable is shown as an escape (as `visible` does).
2. A cell that a spreadsheet would take for a formula begins with an apostrophe, which says "text"; so does a cell that
   begins with an apostrophe, so that taking one away gives the text again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache

from reconciler.core.model.safe_text import visible
from reconciler.output.blocks import Records

_FORMULA = tuple("=+-@'|%＝＋－＠")
_LINES = 5_000


def csv_chunks(records: Records) -> Iterator[str]:
    """The text in pieces, so that a million rows need no memory."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow([column.name.replace(" ", "_") for column in records.columns])
    for number, row in enumerate(records.rows()):
        writer.writerow(_safe_row(row))
        # the text leaves in pieces: a million rows never stand in memory at once
        if number % _LINES == _LINES - 1:
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _safe_row(row: Iterable[str]) -> list[str]:
    return [_safe_cell(text) for text in row]


@lru_cache(maxsize=4_096)
def _safe_cell(text: str) -> str:
    """Most texts of a report come again and again: locations, tags, reasons."""
    # blanks before the mark do not keep a spreadsheet from taking the cell for a formula
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
