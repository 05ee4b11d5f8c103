# ruff: noqa: N815  fields have the vendor's names
"""Definitions of filters: the fields and operators that the vendor documents of the contact search.

Rules
1. Each field takes the operators that the vendor's page names of it, and no other.
2. Ranges have their bounds as keys of their own; `after` and `before` are those of dates.
3. The type of a custom field, and so its operators, is known at the location alone: the pull looks at it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from reconciler.core.model.contact_filter import LONGEST_SOUGHT
from reconciler.loading.fields import Age, Flag, Moment, Name, Text, parse_bound, wrong_value
from reconciler.loading.row_models import Strict


def _check_sought(value: str) -> str:
    if not value.strip():
        raise wrong_value("a blank value: to ask for contacts without one, write exists: false")
    if len(value) > LONGEST_SOUGHT:
        raise wrong_value(f"a value of {len(value):,} characters; the search takes at most {LONGEST_SOUGHT}")
    return value


_BOUND_SCHEMA: dict[str, Any] = {"type": ["string", "number"]}
Sought = Annotated[Text, AfterValidator(_check_sought)]
Bound = Annotated[Any, PlainValidator(parse_bound), WithJsonSchema(_BOUND_SCHEMA)]


class _Test(Strict):
    """A test of one field of a contact; several operators must all hold."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _has_operator(self) -> _Test:
        if not self.model_fields_set:
            raise wrong_value(f"no operator: it takes {', '.join(type(self).model_fields)}")
        return self


class IdTest(_Test):
    """A test of an id."""

    eq: Sought | None = Field(None, examples=["qFSqySFkVvNzOSqgGqFi"])
    """Is this."""
    not_eq: Sought | None = None
    """Is another one."""


class _Existing(_Test):
    exists: Flag | None = None
    """Whether there is a value: true or false."""


class WordTest(_Existing):
    """A test of a text, as a whole."""

    eq: Sought | None = None
    """Is this."""
    not_eq: Sought | None = None
    """Is another one, or empty."""


class TextTest(WordTest):
    """A test of a text."""

    contains: Sought | None = None
    """Has this in it."""
    not_contains: Sought | None = None
    """Does not have this in it."""


class FlagTest(_Existing):
    """A test of a yes or no."""

    eq: Flag | None = None
    """Is this."""
    not_eq: Flag | None = None
    """Is the opposite, or empty."""


class DateTest(_Existing):
    """When a date must be. A bare date is its midnight in the settings' time zone."""

    after: Moment | None = Field(None, examples=["2026-01-01"])
    """Later than this."""
    before: Moment | None = Field(None, examples=["2026-12-31"])
    """Earlier than this."""
    gt: Moment | None = None
    """Later than this, in the vendor's word."""
    gte: Moment | None = None
    """At this time or later."""
    lt: Moment | None = None
    """Earlier than this, in the vendor's word."""
    lte: Moment | None = None
    """At this time or earlier."""


class OpportunityTest(_Test):
    """A test of an opportunity; where there are several, one of the contact's opportunities meets all."""

    pipelineId: WordTest | None = Field(None, examples=[{"eq": "bCkKGpDsyPP4peuKowkG"}])
    """The pipeline that it is in, by id."""
    pipelineStageId: WordTest | None = None
    """The stage of the pipeline, by id."""
    status: WordTest | None = Field(None, examples=[{"eq": "open"}])
    """Open, won, lost or abandoned."""


class ConditionModel(Strict):
    """One condition, or a group of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    all_of: list[ConditionModel] | None = Field(None, alias="all", min_length=1)
    """All of these hold."""
    any_of: list[ConditionModel] | None = Field(None, alias="any", min_length=1)
    """At least one of these holds."""
    none_of: ConditionModel | None = Field(None, alias="not")
    """This does not hold."""
    field: Name | None = Field(None, examples=["plan"])
    """A custom field of the location, by key, name or id; its operators stand beside it."""
    option: Name | None = Field(None, examples=["Waist"])
    """The text box, by label or id, where the custom field is a list of text boxes."""
    eq: Sought | None = Field(None, examples=["gold"])
    """The custom field is this."""
    not_eq: Sought | None = None
    """The custom field is another value, or empty."""
    contains: Sought | None = None
    """The custom field has this in it."""
    not_contains: Sought | None = None
    """The custom field does not have this in it."""
    exists: Flag | None = None
    """Whether the custom field has a value: true or false."""
    after: Moment | None = Field(None, examples=["2026-01-01"])
    """The custom field is a later date."""
    before: Moment | None = None
    """The custom field is an earlier date."""
    gt: Bound | None = None
    """The custom field is a larger number, or a later date."""
    gte: Bound | None = None
    """The custom field is this number or date, or beyond it."""
    lt: Bound | None = None
    """The custom field is a smaller number, or an earlier date."""
    lte: Bound | None = None
    """The custom field is this number or date, or short of it."""
    tags: TextTest | None = Field(None, examples=[{"eq": "webinar 2025"}])
    """Its tags, but for those that the manifests give or take."""
    id: IdTest | None = None
    """The contact's id."""
    contactName: WordTest | None = None
    """The full name."""
    firstNameLowerCase: TextTest | None = None
    """The first name, in lower case."""
    lastNameLowerCase: TextTest | None = None
    """The last name, in lower case."""
    email: WordTest | None = None
    """The e-mail address."""
    phone: TextTest | None = None
    """The phone number, with the country's code."""
    address: TextTest | None = None
    """Street and number."""
    city: TextTest | None = Field(None, examples=[{"eq": "Berlin"}])
    """The city."""
    state: TextTest | None = None
    """The state or region."""
    postalCode: TextTest | None = None
    """The postal code."""
    country: WordTest | None = Field(None, examples=[{"eq": "DE"}])
    """The country, as the location writes it."""
    timezone: WordTest | None = Field(None, examples=[{"eq": "Pacific/Honolulu"}])
    """The time zone, by its IANA name."""
    website: WordTest | None = None
    """The website."""
    businessName: TextTest | None = None
    """The name of the business."""
    companyName: TextTest | None = None
    """The name of the company."""
    source: TextTest | None = None
    """Where the contact came from."""
    type: WordTest | None = Field(None, examples=[{"eq": "lead"}])
    """The type of contact."""
    assignedTo: WordTest | None = None
    """The user that the contact is assigned to, by id."""
    followers: WordTest | None = None
    """A user that follows the contact, by id."""
    activeWorkflows: WordTest | None = None
    """A workflow that the contact is in, by id."""
    finishedWorkflows: WordTest | None = None
    """A workflow that the contact has been through, by id."""
    dnd: FlagTest | None = Field(None, examples=[{"eq": False}])
    """Do not disturb, on all channels."""
    validEmail: FlagTest | None = None
    """Whether the address was found valid, where the location validates them."""
    isValidWhatsapp: FlagTest | None = None
    """Whether the number is one of WhatsApp."""
    dateAdded: DateTest | None = Field(None, examples=[{"after": "2026-01-01"}])
    """When the contact was added."""
    dateUpdated: DateTest | None = None
    """When the contact last changed; a tag that is given may move it."""
    dateOfBirth: DateTest | None = None
    """The date of birth."""
    lastAppointment: DateTest | None = None
    """The last appointment that is confirmed or open."""
    lastEmailClickedDate: DateTest | None = None
    """When a link in an e-mail was last clicked."""
    lastEmailOpenedDate: DateTest | None = None
    """When an e-mail was last opened."""
    opportunities: OpportunityTest | None = Field(None, examples=[{"status": {"eq": "open"}}])
    """An opportunity of the contact."""


class FilterContacts(Strict):
    """Contacts that meet a filter of the contact search."""

    filter: ConditionModel = Field(
        examples=[{"all": [{"field": "plan", "eq": "gold"}, {"dateAdded": {"after": "2026-01-01"}}]}]
    )
    """Which contacts: `reconciler pull` asks the search for them, and plans go by its snapshot."""
    max_age: Age | None = Field(None, examples=["24h"])
    """How old a pull may be when tags are planned by it: a number and s, m, h, d or w."""
