"""`reconciler.yaml` as pydantic definitions, and the JSON Schema (2020-12) of settings and manifests.

The defaults are those of `core.model.settings`. Editors and other tools read the schemas: the same definitions give the
same bytes, and keys keep the order in which the definitions name them.
"""

from __future__ import annotations

import ast
import inspect
import json
from enum import StrEnum
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from reconciler.core.model import JsonObject
from reconciler.core.model.lease import LONGEST_REQUEST_S
from reconciler.core.model.manifest import Authority
from reconciler.core.model.notice import NoticeShape, NoticeWhen, NotifySettings
from reconciler.core.model.people import MOST_MIB, TIMEOUT_S, RowFormat
from reconciler.core.model.settings import (
    DEFAULT_STATE,
    DEFAULT_TOKEN_ENV,
    ApiSettings,
    ApplySettings,
    DriftClass,
    Guard,
    GuardLimits,
    PlanSettings,
    Reassert,
)
from reconciler.loading.fields import (
    Age,
    BaseUrl,
    Company,
    ContactUrl,
    Count,
    Flag,
    Folder,
    Line,
    Lineage,
    LocationText,
    Moment,
    Name,
    Percent,
    Positive,
    Share,
    TagText,
    Text,
    TimeZone,
    Variable,
    Version,
    clean_schema,
)
from reconciler.loading.models import ManifestModel, TagRuleModel
from reconciler.loading.row_models import Strict

_API = ApiSettings()
_PLAN = PlanSettings()
_APPLY = ApplySettings()
_GUARDS = GuardLimits()
_NOTIFY = NotifySettings()


class ApiModel(Strict):
    """How the API is spoken to."""

    base_url: BaseUrl = _API.base_url
    """The origin of the API: https, or http to loopback only."""
    version: Version = _API.version
    """The Version header."""
    max_contacts: Positive = Field(_API.max_contacts, le=10_000)
    """The most contacts in one bulk request."""
    max_tags: Positive = Field(_API.max_tags, le=1_000)
    """The most tags in one bulk request."""
    requests_per_10s: Positive = _API.requests_per_10s
    """Requests in 10 seconds that a location allows."""
    requests_per_day: Positive = _API.requests_per_day
    """Requests a day that a location allows."""
    reserve_pct: Share = Field(_API.reserve_pct, le=90)
    """What is left of both limits to the location's other integrations, in percent."""
    company_id: Company = Field(_API.company_id, examples=["ve9EPM428h8vShlRW1KT"])
    """The agency that the tokens are of; each is then exchanged for a token of its location."""
    timeout_s: Positive = Field(_API.timeout_s, le=LONGEST_REQUEST_S)
    """Seconds until a request without an answer is given up as in doubt: no more than its lease is sure to last."""
    settle_s: Count = Field(_API.settle_s, le=86_400)
    """Seconds for which a request in doubt may still take effect."""


class PlanModel(Strict):
    """How plans are made."""

    reassert: Reassert = _PLAN.reassert
    """Which tags may be sent again where that saves requests: inert ones (default), always, never."""
    reassert_max_age_s: Count = _PLAN.reassert_max_age_s
    """The oldest observation, in seconds, on which a tag may be sent again."""


class ApplyModel(Strict):
    """How a run goes."""

    max_in_flight: Positive = Field(_APPLY.max_in_flight, le=100)
    """The most requests under way at once in a location."""
    max_locations: Positive | None = Field(_APPLY.max_locations, le=1_000)
    """The most locations that are asked at once; the default is four for each core of the machine."""
    max_error_pct: Share | None = _APPLY.max_error_pct
    """A run stops where more rows than this end badly, in percent."""
    max_surprise_pct: Share | None = _APPLY.max_surprise_pct
    """A run stops where more contacts than this carry other tags than last observed, in percent."""


class NotifyModel(Strict):
    """The notice that a webhook gets at the end of apply, revert and drift; RECONCILER_NOTIFY_URL says where it is."""

    shape: NoticeShape = _NOTIFY.shape
    """The form of its body: plain JSON, or a message of Slack or Teams."""
    when: NoticeWhen = _NOTIFY.when
    """Which ends it is sent of: failed ones; also those that changed tags or found drift; all."""


class LocationModel(Strict):
    """One location: a name for people, and where its token comes from."""

    name: Line = Field("", examples=["Acme"], validate_default=False)
    """A name for people."""
    token_env: Variable = Field(DEFAULT_TOKEN_ENV, examples=["ACME_TOKEN"])
    """The environment variable that holds the token."""
    token_command: Line = Field("", examples=["op read op://crm/acme/token"], validate_default=False)
    """A command that prints the token; instead of token_env."""
    company_id: Company | None = Field(None, examples=["ve9EPM428h8vShlRW1KT"])
    """The agency that the token is of; it is then exchanged for one of the location. Empty: it is its own."""
    lineage: Lineage | None = Field(None, examples=["6f1c1f0e-8a43-4a57-9b0c-0a3a2f1f5d11"])
    """The lineage that the location's state must have: a pin against the wrong state."""


class SourceModel(Strict):
    """What gives the rows of contact sets when `reconciler pull` asks it: a command that prints them, or SQL."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["command"]}, {"required": ["sql", "files"]}],
            "dependentRequired": {"format": ["command"], "files": ["sql"]},
        }
    )

    command: list[Text] | None = Field(None, min_length=1, examples=[["psql", "--csv", "--file", "vips.sql"]])
    """A program and its arguments, without a shell, in the directory of the manifests; it prints CSV or JSON lines."""
    sql: Text | None = Field(None, examples=["select contact_id from orders where total::int > 1000"])
    """A SELECT of DuckDB; each of the files is a table, called as the file without its ending."""
    files: list[Text] | None = Field(None, min_length=1, examples=[["exports/orders.csv"]])
    """The files that the SQL may read: .csv, .tsv, .jsonl or .parquet, inside the directory of the manifests."""
    format: RowFormat | None = None
    """How the command prints its rows; by default a first character `{` tells JSON lines."""
    timeout_s: Positive = Field(TIMEOUT_S, le=86_400)
    """Seconds after which it is ended, with all that it started."""
    max_mib: Positive = Field(MOST_MIB, le=1_048_576)
    """The most that it may give, in MiB."""
    max_age: Age | None = Field(None, examples=["24h"])
    """How old a pull may be when tags are planned by it, for sets that do not say it."""


class GuardsModel(Strict):
    """Limits beyond which a plan is refused (exit 5); each holds for a location and for each tag."""

    max_adds: Count | None = _GUARDS.max_adds
    """The most tags added, counted as pairs of contact and tag."""
    max_removes: Count | None = _GUARDS.max_removes
    """The most tags removed, counted as pairs of contact and tag."""
    max_adds_pct: Percent | None = _GUARDS.max_adds_pct
    """The most tags added, in percent of the pairs observed before."""
    max_removes_pct: Share | None = _GUARDS.max_removes_pct
    """The most tags removed, in percent of the pairs observed before; counts from 6 removes on."""
    max_restored_pct: Share | None = _GUARDS.max_restored_pct
    """The most contacts that get a tag back which others removed, in percent of those that have it from here; counts
    from 6 on."""
    max_first_adds: Count | None = _GUARDS.max_first_adds
    """The most contacts that get a tag which `triggers` or is given `once`, where no apply of all of the location is
    known."""
    max_backup_adds: Count | None = _GUARDS.max_backup_adds
    """The most contacts that get a tag which `triggers` or is given `once`, where the state is a backup put back."""
    empties_tag: Flag = _GUARDS.empties_tag
    """Whether a plan is refused after which nobody would carry a tag that somebody carries now."""
    min_holders: Count | None = _GUARDS.min_holders
    """The fewest contacts that must carry each tag afterwards."""
    odd_ids: Flag = _GUARDS.odd_ids
    """Whether a plan is refused that takes a tag from contacts and gives it to ids that HighLevel cannot have
    issued."""
    max_requests: Count | None = _GUARDS.max_requests
    """The most requests of one run."""
    shrink_pct: Share | None = _GUARDS.shrink_pct
    """How much a set of 10 contacts and more may shrink since the last apply or pull, in percent."""
    grow_pct: Percent | None = _GUARDS.grow_pct
    """How much a set of 10 contacts and more may grow since the last apply or pull, in percent."""
    max_unmatched_pct: Share | None = _GUARDS.max_unmatched_pct
    """The most rows of a matched set that no contact, or several, or no sound value are found for when it is pulled, in
    percent; counts from 6 rows on."""
    max_rematched_pct: Share | None = _GUARDS.max_rematched_pct
    """The most matched rows of a set that are of another contact than when it was last pulled, in percent; counts from
    6 rows on."""


class AllowModel(Strict):
    """A reviewed exception to a guard."""

    guard: Guard
    """The guard that is lifted."""
    tag: TagText | None = Field(None, examples=["vip"])
    """For this tag only."""
    set: Name | None = Field(None, examples=["churned"])
    """For this set only (shrink_pct, grow_pct, max_unmatched_pct and max_rematched_pct)."""
    location: LocationText | None = None
    """In this location only."""
    reason: Line = Field(examples=["the trial ended, all of them leave"])
    """Why; it is written to the journal."""
    until: Moment = Field(examples=["2026-12-31"])
    """Until when, exclusive, the exception holds."""


class ExpectedDriftModel(Strict):
    """Drift that somebody else makes on purpose: reported as such, never a failure."""

    tag: TagText = Field(examples=["wf-*"])
    """A tag, or a pattern of tags."""
    classes: list[DriftClass] = Field(default_factory=lambda: [], examples=[["unexpected"]])
    """The classes of drift that are expected; without it all."""
    set: Name | None = Field(None, examples=["customers"])
    """On members of this set only."""
    location: LocationText | None = None
    """In this location only."""
    reason: Text = Field("", examples=["the onboarding workflow owns these"])
    """Why."""
    until: Moment | None = Field(None, examples=["2026-12-31"])
    """Until when, exclusive, it is expected."""


class SettingsModel(Strict):
    """The settings of a manifests directory."""

    state: Line = Field(DEFAULT_STATE, examples=["postgresql://crm@db/reconciler", "s3://bucket/{location}"])
    """Where state lives; `{location}` stands for the location's id. A relative path is one of the working directory."""
    snapshots: Folder = Field("", examples=["manifests/.resolved/"])
    """The directory, inside that of the manifests and named from above them, where snapshots of matched sets are files.

    Empty: in the state.
    """
    lineage: Lineage | None = Field(None, examples=["6f1c1f0e-8a43-4a57-9b0c-0a3a2f1f5d11"])
    """The lineage that the state of every location must have, where the location names none of its own."""
    timezone: TimeZone = Field("UTC", examples=["Europe/Berlin"])
    """The time zone of bare dates in from and until."""
    authority: Authority = Authority.ADDITIVE
    """The authority of the sets where neither the set nor its manifest names one."""
    api: ApiModel = Field(default_factory=ApiModel)
    """How the API is spoken to."""
    plan: PlanModel = Field(default_factory=PlanModel)
    """How plans are made."""
    apply: ApplyModel = Field(default_factory=ApplyModel)
    """How a run goes."""
    notify: NotifyModel = Field(default_factory=NotifyModel)
    """The notice that a webhook gets at the end."""
    tags: dict[TagText, TagRuleModel] = Field(default_factory=lambda: {})
    """Rules for single tags, shared by all locations."""
    locations: dict[LocationText, LocationModel] = Field(default_factory=lambda: {})
    """What is to be known of each location."""
    sources: dict[Name, SourceModel] = Field(default_factory=lambda: {})
    """Queries by name, whose rows are contacts of sets."""
    guards: GuardsModel = Field(default_factory=GuardsModel)
    """Limits beyond which a plan is refused."""
    allow: list[AllowModel] = Field(default_factory=lambda: [])
    """Reviewed exceptions to guards."""
    expected_drift: list[ExpectedDriftModel] = Field(default_factory=lambda: [])
    """Drift that somebody else makes on purpose."""
    history_keep: Positive = Field(10, le=10_000)
    """How many runs keep their rows; revert reaches that far."""
    contact_url: ContactUrl = Field("", examples=["https://crm.example.com/{location_id}/contacts/{contact_id}"])
    """Where the CRM shows a contact; reports link to it. Empty: they do not."""


DIALECT = "https://json-schema.org/draft/2020-12/schema"


class SchemaKind(StrEnum):
    MANIFEST = "manifest"
    SETTINGS = "settings"


_MODELS: dict[SchemaKind, type[BaseModel]] = {SchemaKind.MANIFEST: ManifestModel, SchemaKind.SETTINGS: SettingsModel}
_TITLES = {SchemaKind.MANIFEST: "reconciler manifest", SchemaKind.SETTINGS: "reconciler settings"}


def build_schema(kind: SchemaKind) -> JsonObject:
    """The schema of one kind of file as plain data."""
    # only a schema needs descriptions, which stand in the source
    from pydantic.json_schema import GenerateJsonSchema

    class Described(GenerateJsonSchema):
        def model_schema(self, schema: Any) -> JsonObject:
            made = super().model_schema(schema)
            for name, text in _list_descriptions(schema["cls"]).items():
                field: FieldInfo = schema["cls"].model_fields[name]
                made["properties"][field.alias or name].update(_describe_field(field, text))
            return made

    made = _MODELS[kind].model_json_schema(by_alias=True, schema_generator=Described)
    cleaned: JsonObject = clean_schema(made)
    return {"$schema": DIALECT, **cleaned, "title": _TITLES[kind]}


def _describe_field(field: FieldInfo, text: str) -> JsonObject:
    section = field.default_factory
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return {"description": text}
    described: JsonObject = {"default": section().model_dump(mode="json")}
    # a section that says the same of itself is described once
    return described if text == section.__doc__ else described | {"description": text}


def _list_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text below each definition, those of its bases too, by its name."""
    bases = [base for base in reversed(model.__mro__) if issubclass(base, Strict)]
    return {name: text for base in bases for name, text in _own_descriptions(base).items()}


@cache
def _own_descriptions(model: type[BaseModel]) -> dict[str, str]:
    (definition,) = ast.parse(dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        entry.target.id: inspect.cleandoc(text.value.value)
        for entry, text in pairwise(definition.body)
        if isinstance(entry, ast.AnnAssign)
        and isinstance(entry.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def schema_text(kind: SchemaKind) -> str:
    return json.dumps(build_schema(kind), indent=2, ensure_ascii=False) + "\n"
