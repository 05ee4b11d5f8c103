"""Sources of the settings: what is wrong with how one is declared, and which one a contact set means.

Rule: a table of SQL is a file of the manifests' directory, called as the file without its folders and ending.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source, did_you_mean
from reconciler.core.model.people import RowQuery
from reconciler.loading import mistakes
from reconciler.loading.file_tree import SETTINGS_NAME, CannotRead
from reconciler.loading.files import name_inside
from reconciler.loading.nodes import Node, Scalar
from reconciler.loading.settings_models import SourceModel
from reconciler.loading.templates import ClientLocation, fill_words

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_OF_SQL = "such as sql: select contact_id from orders, with files: [exports/orders.csv]"


@dataclass(frozen=True, slots=True)
class QueryFinder:
    """The sources that the settings declare, as contact sets ask for them."""

    queries: Mapping[str, RowQuery]
    are_known: bool = True
    """False where the defaults stand in for settings with a mistake."""

    def find(self, name: str, place: Source, client: ClientLocation) -> RowQuery | None:
        """The source with what stands in its placeholders for a location; raises InvalidInput where there is none.

        `place`: where a set names it. None where nothing is known of the sources.
        """
        query = self.queries.get(name)
        # what is wrong with the settings is told, and would only be repeated here
        if query is None and not self.are_known:
            return None
        if query is None:
            hint = did_you_mean(name, list(self.queries)) or "a source is declared in reconciler.yaml, under `sources`"
            raise InvalidInput([Problem(place, f"no source is called {name!r}", "unknown-source", hint=hint)])
        return replace(query, command=fill_words(query.command, client, place))


def name_table(file: str) -> str:
    """The name of the table that a file is in SQL."""
    return posixpath.basename(file).rpartition(".")[0]


def list_source_faults(model: SourceModel, key: Scalar, node: Node) -> Iterator[Problem]:
    """Mistakes of a source that no single value shows."""
    # pydantic tells which keys there are, and not which go together
    if model.command is None and model.sql is None:
        message = f"source {key.text!r} names neither `command` nor `sql`"
        yield Problem(key.source, message, "source", hint=_OF_SQL)
    for path, message, hint in (*_list_mixed_keys(model), *_list_table_faults(model.files or ())):
        yield Problem(mistakes.locate_value(node, path, of_key=len(path) == 1), message, "source", hint=hint)


_Fault = tuple[tuple[str | int, ...], str, str]
"""The place within the source, what is wrong there, and a hint."""


def _list_mixed_keys(model: SourceModel) -> Iterator[_Fault]:
    if model.command is not None and model.sql is not None:
        yield ("sql",), "a source has a `command` or `sql`, not both", ""
        return
    if model.command is not None and not model.command[0].strip():
        yield ("command", 0), "the first word of a command is its program, and this one is empty", ""
    if model.sql is None and model.files is not None:
        yield ("files",), "`files` are tables of `sql`, and there is none", ""
    if model.sql is not None:
        yield from _list_sql_faults(model, model.sql)


def _list_sql_faults(model: SourceModel, sql: str) -> Iterator[_Fault]:
    if not sql.strip():
        yield ("sql",), "the SQL is empty", _OF_SQL
    if model.files is None:
        yield ("sql",), "SQL reads the files that are named beside it, and none is", _OF_SQL
    if model.format is not None:
        yield ("format",), "`format` is of what a command prints, and there is none", ""


def _list_table_faults(files: Sequence[str]) -> Iterator[_Fault]:
    tables: dict[str, str] = {}
    for place, file in enumerate(files):
        try:
            name = name_inside(SETTINGS_NAME, file)
        except CannotRead as error:
            yield ("files", place), f"{file[:200]!r}: {error}", ""
            continue
        if not name.lower().endswith(TABLE_ENDINGS):
            yield ("files", place), f"not a table: {file[:200]}", f"known endings: {', '.join(TABLE_ENDINGS)}"
        # DuckDB compares names without regard to case
        elif (first := tables.setdefault(name_table(name).lower(), name)) != name:
            yield ("files", place), f"{first} and {name} would both be the table {name_table(name)!r}", ""
