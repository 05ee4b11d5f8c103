"""Valid input of each reader, with something of everything."""

from __future__ import annotations

import json

A, B = "qFSqySFkVvNzOSqgGqFi", "3ualbhnV7j3n3a9r2moD"
HERE, THERE = "asdrwHvLUxlfw5SqKVCN", "bsdrwHvLUxlfw5SqKVCN"
TABLES = {
    "c.csv": f"id,plan\n{A},gold\n{B},silver\n".encode(),
    "people.csv": b"mail,mobile,number,plan\nanna@example.com,+442079460001,7,gold\n",
    "clients.csv": f"location_id,name\n{HERE},c\n".encode(),
}
# small ones: an execution costs what its lines cost
MANIFESTS = tuple(
    text.encode()
    for text in (
        f"""\
location: {HERE}
authority: owned
tags:
  vip: {{group: rank, max_adds: 2, renamed_from: top}}
  gold: {{group: rank, once: true, description: "top 5 %"}}
contact_sets:
  vip:
    contacts: [{A}, {B}]
    tags: [vip, 'no']
    absent: [trial]
    from: 2026-03-29
    until: 2026-12-31T18:00:00+01:00
""",
        f"""\
location: {HERE}
contact_sets:
  vip: {{contacts: [{A}], tags: [a]}}
  file:
    contacts: {{file: c.csv, column: id, where: {{plan: gold}}}}
    tags: [customer]
    ignore: ["wf-*"]
    on_leave: keep
  both:
    contacts: {{sets: [vip], except: [file], only: [vip, file]}}
    tags: [x]
    authority: exact
    allow_empty: true
""",
        f"""\
location: {HERE}
tags:
  slow: {{pace: {{adds: 500, per: 1h}}, window: {{days: mon-fri, from: "09:00", until: "18:00", zone: Europe/Berlin}}}}
contact_sets:
  s: {{contacts: [{A}], tags: [slow]}}
""",
        f"""\
location: {HERE}
contact_sets:
  matched:
    contacts: {{file: people.csv, match: {{email: mail, phone: mobile}}, region: DE, max_age: 24h}}
    tags: [a]
  field:
    contacts: {{file: people.csv, match: {{field: customer_no, column: number}}}}
    tags: [b]
""",
        """\
locations: {file: clients.csv, where: {name: c}}
rollout: {first: [asdrwHvLUxlfw5SqKVCN], then: 10%, soak: 24h}
contact_sets:
  customers:
    contacts: {file: "{client.name}.csv"}
    tags: [customer]
""",
    )
)
SETTINGS = (
    b"""\
state: sqlite:///.reconciler/state.db
snapshots: .resolved/
lineage: 6f1c1f0e-8a43-4a57-9b0c-0a3a2f1f5d11
timezone: Europe/Berlin
authority: additive
history_keep: 10
contact_url: https://crm.example.com/{location_id}/contacts/{contact_id}
""",
    b"""\
api: {base_url: "https://services.leadconnectorhq.com", version: 2021-07-28, max_contacts: 500, company_id: ''}
plan: {reassert: inert, reassert_max_age_s: 3600}
apply: {max_in_flight: 50, max_error_pct: 10}
guards: {max_adds: 5000, max_adds_pct: 50.5, empties_tag: true, shrink_pct: 50}
""",
    b"""\
tags:
  founder: {protected: true}
locations:
  asdrwHvLUxlfw5SqKVCN: {name: Acme, token_env: ACME_TOKEN, company_id: ve9EPM428h8vShlRW1KT}
  bsdrwHvLUxlfw5SqKVCN: {name: Beta, token_command: op read op://crm/beta/token}
allow:
  - {guard: empties_tag, tag: trial, reason: the trial ended, until: 2026-12-31}
expected_drift:
  - {tag: wf-*, classes: [unexpected], set: customers, reason: workflows own these, until: 2027-06-30}
""",
    b"""\
sources:
  spenders: {sql: "select contact_id from orders where total::int > 1000", files: [exports/orders.csv]}
  attendees: {command: [psql, --csv], format: csv, timeout_s: 600, max_mib: 1024, max_age: 24h}
""",
)
VARIABLES = json.dumps(
    {
        "RECONCILER_STATE": "postgresql://u@h/db?schema=x",
        "RECONCILER_TIMEZONE": "Europe/Berlin",
        "RECONCILER_LINEAGE": "6f1c1f0e-8a43-4a57-9b0c-0a3a2f1f5d11",
        "RECONCILER_API_BASE_URL": "http://[::1]:8080",
        "RECONCILER_API_TIMEOUT_S": "15",
        "RECONCILER_API_MAX_TAGS": "5",
        "RECONCILER_GUARDS_MAX_REMOVES_PCT": "12.5",
        "RECONCILER_GUARDS_EMPTIES_TAG": "false",
        "RECONCILER_PLAN_REASSERT": "never",
        "RECONCILER_AUTHORITY": "owned",
        "RECONCILER_CONTACT_URL": "https://crm.example.com/{contact_id}",
        "RECONCILER_SNAPSHOTS": ".resolved",
        "RECONCILER_HISTORY_KEEP": "3",
        "PATH": "/bin",
    }
).encode()

_OK = {"message": "Tags updated", "type": "success", "oldTags": ["tag-1"], "tagsAdded": ["vip"], "tagsRemoved": []}
_CONTACT = {
    "id": A,
    "locationId": HERE,
    "tags": ["vip", "gold"],
    "dateUpdated": "2026-11-21T08:00:00.000Z",
    "email": "anna@example.com",
    "phone": "+442079460001",
    "additionalEmails": ["a@example.com", {"email": "b@example.com"}],
    "additionalPhones": [{"phone": "+442079460002", "phoneLabel": "x"}],
    "customFields": [{"id": "f1", "value": "7"}, {"id": "f2", "value": ["a", 1.5]}],
    "searchAfter": [1_700_000_000_000, A],
}
_DOCUMENTS: tuple[object, ...] = (
    {"succeded": True, "errorCount": 0, "responses": [{"contactId": A, **_OK}, {"contactId": "abcdef", **_OK}]},
    {
        "succeded": True,
        "errorCount": 1,
        "responses": [json.dumps({"contactId": A, **_OK}), {"contactId": B, "message": "x", "type": "error"}],
    },
    {"contacts": [_CONTACT, _CONTACT | {"id": B}], "total": 2, "traceId": "x"},
    {"contact": _CONTACT},
    {"customFields": [{"id": "f1", "name": "Number", "fieldKey": "contact.customer_no", "dataType": "TEXT"}]},
    {"tags": [{"id": "t1", "name": "vip", "locationId": HERE}]},
    {"access_token": "abc.def", "token_type": "Bearer", "expires_in": 86399, "locationId": HERE, "userId": "x"},
    {"statusCode": 422, "message": ["contacts must be an array", "tags too"], "error": "Unprocessable Entity"},
    {"statusCode": 400, "message": "Contact not found"},
)
# a compact spelling too, as servers have it: it is read by its text
ANSWERS = tuple(
    json.dumps(document, separators=separators).encode()
    for document in _DOCUMENTS
    for separators in ((",", ":"), (", ", ": "))
)
HEADERS = json.dumps(
    {
        "X-RateLimit-Max": "100",
        "X-RateLimit-Remaining": "99",
        "X-RateLimit-Interval-Milliseconds": "10000",
        "X-RateLimit-Limit-Daily": "200000",
        "X-RateLimit-Daily-Remaining": "199999",
        "X-RateLimit-Daily-Reset": "36000000",
        "Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT",
        "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
).encode()
