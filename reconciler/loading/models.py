"""The manifest language as pydantic definitions: one source for the loader, the JSON Schema, editor hover and the docs.

Rules
1. An unknown key is an error. Every key has a description.
2. An empty value is made by a lambda: to look at the signature of `dict` takes pydantic as long as all the rest.
3. Inline id lists pass through as they were parsed: a million of them must not cost a million validations.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from reconciler.core.model.manifest import Authority, OnLeave
from reconciler.loading import nodes
from reconciler.loading.fields import (
    Count,
    Days,
    Flag,
    HourOfDay,
    Line,
    LocationText,
    Moment,
    Name,
    Period,
    Positive,
    TagText,
    Text,
    TimeZone,
)
from reconciler.loading.filter_models import FilterContacts
from reconciler.loading.row_models import FileContacts, Locations, RolloutModel, SourceContacts, Strict


class PaceModel(Strict):
    """How many contacts are given a tag in a period."""

    adds: Positive = Field(examples=[500])
    """The most contacts that are given the tag in any period of this length; the others wait."""
    per: Period = Field(examples=["1h"])
    """The length of the period, 1m to 30d: a number and s, m, h, d or w."""


class WindowModel(Strict):
    """The hours in which a tag is given."""

    days: Days | None = Field(None, examples=["mon-fri", ["mon", "wed"]])
    """The days of the week on which it opens, such as mon-fri or [mon, wed]; by default all."""
    opens: HourOfDay = Field(alias="from", examples=["09:00"])
    """The time of day from which the tag is given."""
    until: HourOfDay = Field(examples=["18:00"])
    """The time of day until which, exclusive, the tag is given; one before from is on the next day."""
    zone: TimeZone | None = Field(None, examples=["Europe/Berlin"])
    """The time zone of both; by default the settings' one."""


class TagRuleModel(Strict):
    """What holds for one tag."""

    description: Text = Field("", examples=["top 5 % by revenue"])
    """What the tag means, for people."""
    group: Name | None = Field(None, examples=["lifecycle"])
    """At most one tag of a group on a contact: declaring one removes the others."""
    max_adds: Count | None = Field(None, examples=[200])
    """The most contacts that one run may add this tag to."""
    max_removes: Count | None = Field(None, examples=[200])
    """The most contacts that one run may remove this tag from."""
    min_holders: Count | None = Field(None, examples=[10])
    """The fewest contacts that must carry this tag after a run."""
    protected: Flag = False
    """Never removed from anybody."""
    triggers: Flag = False
    """Starts automations: listed first in every preview, never sent twice."""
    once: Flag = False
    """One add satisfies it for as long as it stays declared: a workflow may consume it."""
    inert: Flag = False
    """Starts no automation: may be sent again where that saves requests."""
    exclusive: Flag = False
    """Only declared contacts carry it in the whole location (Terraform's binding); needs a refresh by tag search."""
    renamed_from: TagText | None = Field(None, examples=["top"])
    """The tag's old name: this one is added, proven, and only then the old one removed."""
    pace: PaceModel | None = Field(None, examples=[{"adds": 500, "per": "1h"}])
    """Given slowly: apply sends what fits, and the others wait. Removals are not paced."""
    window: WindowModel | None = Field(None, examples=[{"days": "mon-fri", "from": "09:00", "until": "18:00"}])
    """Given at these hours only. Removals go at any hour."""


class CombinedContacts(Strict):
    """Contacts of other sets."""

    sets: list[Name] = Field(min_length=1, examples=[["churned"]])
    """The contacts of any of these sets."""
    minus: list[Name] = Field(default_factory=lambda: [], alias="except", examples=[["vip"]])
    """Without the contacts of any of these sets."""
    only: list[Name] | None = Field(None, min_length=1, examples=[["customers"]])
    """Only those that are in one of these sets as well."""


def _contacts_kind(value: object) -> str | None:
    if isinstance(value, nodes.Sequence):
        return "(ids)"
    if not isinstance(value, dict):
        return None
    # with several kinds of keys it counts as the first of these, and the others are reported as unknown keys
    if "file" in value:
        return "(file)"
    for key in ("source", "filter"):
        if key in value:
            return f"({key})"
    return "(sets)" if {"sets", "except", "only"} & value.keys() else "(file)"


def _as_parsed(value: Any) -> Any:
    return value


_IDS_SCHEMA = {
    "type": "array",
    "items": {"type": ["string", "number", "boolean", "null"]},
    "title": "Contact ids",
    "description": "Contact ids, written out.",
    "examples": [["qFSqySFkVvNzOSqgGqFi", "3ualbhnV7j3n3a9r2moD"]],
}

ContactIds = Annotated[Any, PlainValidator(_as_parsed), WithJsonSchema(_IDS_SCHEMA), Tag("(ids)")]
Contacts = Annotated[
    ContactIds
    | Annotated[FileContacts, Tag("(file)")]
    | Annotated[SourceContacts, Tag("(source)")]
    | Annotated[FilterContacts, Tag("(filter)")]
    | Annotated[CombinedContacts, Tag("(sets)")],
    Discriminator(_contacts_kind),
]


class ContactSetModel(Strict):
    """Some contacts, and the tags they shall and shall not carry."""

    contacts: Contacts
    """Who: a list of contact ids, a file, a source, a filter, or a combination of other sets."""
    tags: list[TagText] = Field(default_factory=lambda: [], examples=[["customer", "newsletter"]])
    """Tags that each of the contacts must carry."""
    absent: list[TagText] = Field(default_factory=lambda: [], examples=[["trial"]])
    """Tags that none of the contacts may carry."""
    authority: Authority | None = None
    """How much of a contact's tags the set decides. additive (default) removes what is absent or no longer declared,
    owned also every owned tag that is not declared, exact every tag that is not declared."""
    ignore: list[Line] = Field(default_factory=lambda: [], examples=[["wf-*"]])
    """Patterns of tags that owned and exact leave alone."""
    on_leave: OnLeave = OnLeave.REMOVE
    """What becomes of the set's tags on a contact that leaves it: remove (default) or keep."""
    start: Moment | None = Field(None, alias="from", examples=["2026-12-01"])
    """From when the set declares; a date (midnight in the settings' time zone) or a time with zone."""
    until: Moment | None = Field(None, examples=["2026-12-31", "2026-12-31T18:00:00+01:00"])
    """Until when, exclusive, the set declares."""
    allow_empty: Flag = False
    """Whether the set may have no contacts; otherwise that is an error."""


class ManifestModel(Strict):
    """Which contacts of one HighLevel location, or of each of several, carry which tags."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["location"]}, {"required": ["locations"]}],
            "dependentRequired": {"rollout": ["locations"]},
        }
    )

    location: LocationText | None = Field(None, examples=["asdrwHvLUxlfw5SqKVCN"])
    """The id of the location (sub-account)."""
    locations: Locations | None = Field(None, examples=[["asdrwHvLUxlfw5SqKVCN"], {"file": "clients.csv"}])
    """In place of `location`: the ids of several, or a file of them. The manifest is one of each of them."""
    rollout: RolloutModel | None = None
    """The order in which the locations are sent a change; without it all at once."""
    authority: Authority | None = None
    """The authority of the sets of this manifest that do not name one."""
    tags: dict[TagText, TagRuleModel] = Field(default_factory=lambda: {}, examples=[{"vip": {"max_adds": 200}}])
    """Rules for single tags of this location."""
    contact_sets: dict[Name, ContactSetModel] = Field(default_factory=lambda: {})
    """The contact sets by name; `{}` to declare nothing, which empties the location of what was declared before."""
