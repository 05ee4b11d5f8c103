"""Outputs of sources that may end in the midst of a row: `find_cut(rows, request)`, `refuse_cut_id(...)`.

An output without a line end at its end
1. JSON lines are proven whole: an object that is cut off has no closing brace, and is no JSON.
2. A table shows a missing field and an open quote. A last field that lost its end looks like another value: an id has a
   fixed form, but a value that people are matched by, or that rows are chosen by, has none.
"""

from __future__ import annotations

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source, odd_contact_ids
from reconciler.loading.contact_files import read_every_column
from reconciler.loading.contact_ids import ContactTable, FileRequest
from reconciler.operations.ask_queries import QueryRows

HINT = "let the command print a line end after its last row (curl --write-out adds one), or last a column no set uses"


def find_cut(rows: QueryRows, request: FileRequest) -> tuple[str, ...]:
    """Why the last row cannot be trusted to be whole, in lines; empty where it can."""
    if rows.ends_with_line or request.kind != ".csv":
        return ()
    try:
        with rows.open() as stream:
            names, _ = read_every_column(stream, request)
    except InvalidInput:
        # told where the rows are read
        return ()
    telling = (*request.people, *(row_filter.column for row_filter in request.where))
    if names[-1] not in telling:
        return ()
    message = (
        f"the last row has no line end, and nothing tells whether its last value, of column {names[-1]!r}, was cut off"
    )
    return Problem(Source(request.path), message, "source", hint=HINT).lines


def refuse_cut_id(rows: QueryRows, request: FileRequest, table: ContactTable) -> None:
    """Raises InvalidInput where the last row ends in the midst of its id: nothing else shows that it was cut."""
    if table.ids and not rows.ends_with_line and odd_contact_ids(table.ids[-1:]):
        message = "the last row has no line end, and its id cannot be one: it was cut off"
        raise InvalidInput([Problem(request.place(table.lines[-1]), message, "contact-id")])
