"""Definitions that choose rows of a file or a source, as contacts; and lists of locations, made of such rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from reconciler.loading.fields import Age, LocationText, Name, Region, Text, WaveSize


class Strict(BaseModel):
    """The base of all definitions: no unknown key, no change afterwards; each is built when it is needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False, defer_build=True)


class ListFilter(Strict):
    """What a column that holds lists must have."""

    contains: Text = Field(examples=["vip"])
    """Only rows whose list holds exactly this text; in a table, commas or semicolons part the items."""


# the tags of alternatives stand in parentheses: they become parts of an error's location, beside keys of the file
def _filter_kind(value: object) -> str:
    return "(list)" if isinstance(value, dict) else "(text)"


Filter = Annotated[
    Annotated[Text, Tag("(text)")] | Annotated[ListFilter, Tag("(list)")],
    Discriminator(_filter_kind),
]


class MatchModel(Strict):
    """The columns of the file that hold people's values: a row's keys are tried in the order written."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "dependentRequired": {"field": ["column"], "column": ["field"]}}
    )

    email: Text | None = Field(None, examples=["mail"])
    """The column with e-mail addresses."""
    phone: Text | None = Field(None, examples=["mobile"])
    """The column with phone numbers."""
    field: Text | None = Field(None, examples=["customer_no"])
    """A custom field of the location, by key or id."""
    column: Text | None = Field(None, examples=["number"])
    """The column with values of the custom field."""


class RowContacts(Strict):
    """How the rows of a file, or of a source, are contacts."""

    column: Text | None = Field(None, examples=["contact_id"])
    """The column of the ids; by default contact_id, else Contact Id (as HighLevel exports it), else id."""
    where: dict[Text, Filter] = Field(
        default_factory=lambda: {}, examples=[{"plan": "gold"}, {"Tags": {"contains": "vip"}}]
    )
    """Only rows in which each of these columns has exactly this text, or a list that contains it."""
    match: MatchModel | None = None
    """The rows have no ids: `reconciler pull` finds the contacts by these columns, and plans go by what it found."""
    region: Region | None = Field(None, examples=["DE"])
    """The country of phone numbers that are written without one."""
    max_age: Age | None = Field(None, examples=["24h"])
    """How old a pull may be when tags are planned by it: a number and s, m, h, d or w."""


class _File(Strict):
    file: Text = Field(examples=["contacts/customers.csv"])
    """A .csv, .tsv, .jsonl, .txt (one id a line) or .parquet file, relative to the manifest."""


# the key of the second base comes first, in schema and messages
class FileContacts(RowContacts, _File):
    """Contacts from a file: by their ids, or matched by what else is known of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"region": ["match"], "max_age": ["match"]},
            "not": {"required": ["match", "column"]},
        }
    )


class _Source(Strict):
    source: Name = Field(examples=["vips"])
    """A source of the settings: `reconciler pull` asks it, and plans go by what it gave."""


class SourceContacts(RowContacts, _Source):
    """Contacts from a query: by their ids, or matched by what else is known of them."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"region": ["match"]}, "not": {"required": ["match", "column"]}}
    )


class ClientsFile(Strict):
    """The locations of a file, with what else it tells of each."""

    file: Text = Field(examples=["clients.csv"])
    """A .csv, .tsv or .jsonl file, relative to the manifest. Its columns fill placeholders: {client.COLUMN}."""
    column: Text = "location_id"
    """The column of the location ids."""
    where: dict[Text, Filter] = Field(default_factory=lambda: {}, examples=[{"plan": "pro"}])
    """Only rows in which each of these columns has exactly this text, or a list that contains it."""


def _locations_kind(value: object) -> str:
    return "(file)" if isinstance(value, dict) else "(list)"


Locations = Annotated[
    Annotated[list[LocationText], Field(min_length=1), Tag("(list)")] | Annotated[ClientsFile, Tag("(file)")],
    Discriminator(_locations_kind),
]


LOCATIONS: TypeAdapter[list[str] | ClientsFile] = TypeAdapter(Locations, config=ConfigDict(defer_build=True))


class RolloutModel(Strict):
    """A change reaches the locations in waves: each begins when all before it ended with exit code 0."""

    first: list[LocationText] = Field(min_length=1, examples=[["asdrwHvLUxlfw5SqKVCN"]])
    """The locations of the first wave."""
    then: WaveSize = "10%"
    """How many locations each further wave has: a number, or a share of all."""
    soak: Age | None = Field(None, examples=["24h"])
    """How long after it ended a wave is watched before the next one may begin."""
