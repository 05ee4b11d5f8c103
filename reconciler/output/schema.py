"""JSON Schema (2020-12) of the documents that `--format json` prints, and of the plan file.

Rules
1. Every field that is printed is in the schema and always there; a field without a value is null or empty.
2. `format_version` is "MAJOR.MINOR". A later minor version may have more fields, so unknown ones are allowed; every
   other change is a new major version.
3. The members are those of the document's class: its JSON and its schema derive from the same types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from reconciler.core.formats.json_forms import Schema, object_schema
from reconciler.core.formats.plan_json import VERSION
from reconciler.core.formats.plan_json import plan_schema as plan_members
from reconciler.core.model.safe_text import Provenance
from reconciler.output.contact import ContactDocument
from reconciler.output.diff import DiffDocument
from reconciler.output.document import PROVENANCE, FailureDocument
from reconciler.output.drift import DriftDocument
from reconciler.output.findings import DoctorDocument, ProblemList
from reconciler.output.fleet import FleetDocument
from reconciler.output.history import HistoryDocument
from reconciler.output.locations import LocationsDocument
from reconciler.output.log import LogDocument
from reconciler.output.pull import PullDocument, ResolveDocument
from reconciler.output.refresh import RefreshDocument
from reconciler.output.run import RunDocument
from reconciler.output.state import FactsDocument, StateDocument
from reconciler.output.trial import TrialDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_REPORTS: Mapping[str, tuple[str, Callable[[], Schema]]] = {
    "run": ("What `apply` and `revert` did.", RunDocument.schema),
    "drift": ("What `drift` found.", DriftDocument.schema),
    "pull": ("What `pull` resolved: who joined and left each matched set.", PullDocument.schema),
    "resolve": ("What `resolve` made of a file of people.", ResolveDocument.schema),
    "refresh": ("What `refresh` read.", RefreshDocument.schema),
    "facts": ("Each location as a whole, of `state show` without a contact.", FactsDocument.schema),
    "doctor": ("What `doctor` found.", DoctorDocument.schema),
    "trial": ("What `doctor --try` settled.", TrialDocument.schema),
    "error": ("What ended a command that was refused.", FailureDocument.schema),
    "history": ("The runs, the newest first.", HistoryDocument.schema),
    "log": ("One run with everything it asked and was answered, of `show RUN`.", LogDocument.schema),
    "diff": ("What a change to manifests means.", DiffDocument.schema),
    "state": ("Contacts as the state knows them, of `state list`.", StateDocument.schema),
    "contact": ("All that is known of a contact, of `state show`.", ContactDocument.schema),
    "locations": ("The locations of a directory of manifests.", LocationsDocument.schema),
    "fleet": (
        "The jobs of a fleet, of `fleet status`, `fleet wait` and the commands that queue them.",
        FleetDocument.schema,
    ),
    "problems": ("What `validate` found.", ProblemList.schema),
}


def plan_schema() -> Schema:
    """Of `plan --format json`, `show PLAN --format json` and the plan file."""
    return {"$schema": DIALECT, "title": "reconciler plan", **plan_members()}


def report_schema() -> Schema:
    """Of every document but the plan; `report` tells which it is."""
    # a reader finds the kind by `report`, and checks against that schema alone
    kinds: Schema = {name: _report(name, about, members()) for name, (about, members) in _REPORTS.items()}
    return {
        "$schema": DIALECT,
        "title": "reconciler report",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": kinds,
    }


def _report(name: str, about: str, members: Schema) -> Schema:
    made = PROVENANCE.schema(Provenance | None)
    return object_schema(about, {"format_version": VERSION, "report": {"const": name}, **members, "made": made})


SCHEMAS: Mapping[str, Callable[[], Schema]] = {"report": report_schema, "plan": plan_schema}


def published(kind: str) -> str:
    """The schema as a file."""
    return json.dumps(SCHEMAS[kind](), indent=2) + "\n"
