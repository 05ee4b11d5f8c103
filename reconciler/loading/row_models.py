"""Definitions that choose rows of a file, and lists of locations, which are made of such rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from reconciler.loading.fields import Age, LocationText, Text, WaveSize


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
