"""The kinds of values that manifests and settings are made of: text in, value or a sentence out.

Rules
1. Every value arrives as text; numbers, dates and true/false are parsed here, by our rules, with our messages.
2. A name, an id or a tag stays the text it is. Its JSON Schema accepts any scalar: an editor types `no` as false.
3. A text that may be a secret, written in the wrong place, is not repeated in a message. No parser repeats a value:
   it gives it along, and the place decides whether it is shown.
4. In the schema, a key that may be left out may not be null: the loader would take `null` for the text that it is.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from ipaddress import ip_address
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from reconciler.core.model.names import read_age
from reconciler.core.model.release_rules import DAYS, LONGEST_MS, SHORTEST_MS
from reconciler.core.model.safe_text import is_contact_url, tells_person

_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_SIGNED_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r" ?(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REGION = re.compile(r"[A-Za-z]{2}")
_WAVE_SIZE = re.compile(r"[1-9][0-9]{0,4}|[1-9][0-9]{0,2}%")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9.-]{1,32}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?"
)
_NUMBER_OF_A_SPREADSHEET = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_PHONE = re.compile(r"'?(?:[+＋]\d|\(?\d{1,6}[)\s\-/])[\d\s().\-/]{4,40}")
"""A number with what marks one of a phone: digits alone are told where ids are looked at together."""
_HOUR = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY = f"({'|'.join(DAYS)})"
_DAYS = re.compile(f"{_DAY}(?:-{_DAY})?")
_YEARS = range(1970, 9999)


def wrong_value(message: str) -> PydanticCustomError:
    """The error of a field whose value is refused, with a message of ours."""
    return PydanticCustomError("ours", "{message}", {"message": message})


def _unexpected_value(message: str, value: object) -> PydanticCustomError:
    """As `wrong_value`, with a value that is shown where it tells no person."""
    # the value itself may hold what pydantic cannot print: half a character from a variable
    found, withheld = describe_kind(value), describe_kind(value, is_shown=False)
    return PydanticCustomError("ours", "{message}", {"message": message, "found": found, "withheld": withheld})


def describe_kind(value: object, *, is_shown: bool = True) -> str:
    """A value of the wrong kind, in words. `is_shown`: whether a text is repeated."""
    if isinstance(value, str):
        return (repr(value[:80]) if is_shown else "another text") if value else "nothing"
    return "a mapping" if isinstance(value, dict) else "a list"


def _parse_flag(value: object) -> bool:
    if value in ("true", "True", "TRUE"):
        return True
    if value in ("false", "False", "FALSE"):
        return False
    raise _unexpected_value("expected true or false", value)


def _parse_whole(value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise _unexpected_value("expected a whole number of at most 9 digits", value)


def _parse_number(value: object) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise _unexpected_value("expected a number such as 30 or 2.5", value)


def _parse_moment(value: object) -> datetime:
    """A time with zone; a bare date becomes a midnight without zone, which the settings' time zone completes."""
    text = value if isinstance(value, str) else ""
    timed = _TIME.fullmatch(text)
    if timed is None and not _DATE.fullmatch(text):
        raise _unexpected_value("expected a date such as 2026-12-31 or a time such as 2026-12-31T18:00:00Z", value)
    # a local time is ambiguous in the hour that autumn repeats; a bare date is not
    if timed is not None and timed["zone"] is None:
        raise _unexpected_value("a time needs a zone behind it, such as Z or +01:00", value)
    try:
        moment = _parse_iso(text)
    except ValueError:
        raise _unexpected_value("there is no such date or time", value) from None
    if moment.year not in _YEARS:
        raise _unexpected_value(f"expected a year from {_YEARS.start} to {_YEARS.stop - 1}", value)
    return moment


def parse_bound(value: object) -> float | datetime:
    """A number, or a date as `_parse_moment` reads it."""
    if isinstance(value, str) and _SIGNED_NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    if isinstance(value, str) and _DATE.match(value):
        return _parse_moment(value)
    raise _unexpected_value("expected a number such as 30, or a date such as 2026-12-31", value)


def _parse_iso(text: str) -> datetime:
    if _DATE.fullmatch(text):
        return datetime.combine(date.fromisoformat(text), time())
    day, clock = text[:10], text[11:].replace(" ", "").upper()
    return datetime.fromisoformat(f"{day}T{clock}")


def id_fault(contact: str) -> tuple[str, str] | None:
    """The fault of a text that cannot be an id, and its remedy; None where it may be one."""
    # an address is personal data, and not repeated: the line tells where it stands
    if "@" in contact:
        hint = "addresses stand in a file: {file: people.csv, match: {email: mail}}; or export the Contact Id too"
        return "an e-mail address where a contact id is needed", hint
    if _NUMBER_OF_A_SPREADSHEET.fullmatch(contact):
        hint = "format the column as text in the spreadsheet, fill the ids in again, and export it once more"
        return "a number such as 1.2E+19, which a spreadsheet made of an id that it took for a number", hint
    if _PHONE.fullmatch(contact):
        hint = "numbers stand in a file: {file: people.csv, match: {phone: mobile}}; or export the Contact Id too"
        return "a phone number where a contact id is needed", hint
    if not contact.isprintable():
        # phones put such characters around a number that is copied: the rest is not repeated
        hidden = sorted({f"U+{ord(char):04X}" for char in contact if not char.isprintable()})
        return f"an id with characters that cannot be seen: {', '.join(hidden[:8])}", ""
    return None


def repetition_message(count: int, example: str) -> str:
    many = f"{count:,} ids are" if count > 1 else "an id is"
    return f"{many} given again and counted once" + ("" if tells_person(example) else f", for example {example!r}")


def _check_tag(value: str) -> str:
    if not value.strip():
        raise wrong_value("a blank tag")
    return value


def _check_name(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable() or len(value) > 200:
        raise wrong_value("expected a name: 1 to 200 printable characters, no blank at either end")
    return value


def is_location_id(text: str) -> bool:
    return _LOCATION.fullmatch(text) is not None


def _check_location(value: str) -> str:
    if not is_location_id(value):
        raise _unexpected_value("expected a location id (1 to 64 letters, digits, - and _)", value)
    return value


def _check_company(value: str) -> str:
    # not repeated in the message, unlike a location: it may be the agency's token, written in the wrong place
    if value and not _LOCATION.fullmatch(value):
        raise wrong_value("expected the id of an agency: 1 to 64 letters, digits, - and _; never the token")
    return value


def _check_variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise wrong_value("expected the name of an environment variable; the token itself never stands in a file")
    return value


def _check_version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise _unexpected_value("expected an API version such as 2021-07-28", value)
    return value


def _check_lineage(value: str) -> str:
    if not _UUID.fullmatch(value.lower()):
        raise _unexpected_value("expected a lineage, as `reconciler state list` shows it", value)
    return value.lower()


def _check_base_url(value: str) -> str:
    url = _URL.fullmatch(value)
    if url is None or int(url["port"] or 0) > 65535:
        raise wrong_value(
            "expected a URL such as https://services.leadconnectorhq.com, without user, query or fragment"
        )
    # the token would travel in the clear; the sandbox listens on loopback
    if url["scheme"] == "http" and not _is_loopback(url["host"].strip("[]")):
        raise wrong_value(f"plain http goes to loopback only, not to {url['host']}: use https")
    return value.rstrip("/")


def _check_contact_url(value: str) -> str:
    if value and not is_contact_url(value):
        raise wrong_value(
            "expected an https URL such as https://crm.example.com/{location_id}/{contact_id}: with {contact_id}, and "
            "no other placeholder but {location_id}, no user, no blank"
        )
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_timezone(value: str) -> str:
    try:
        return value if value == "UTC" else ZoneInfo(value).key
    # zoneinfo reads files: a name may be a directory there, or hold characters that no path can
    except (ValueError, OSError, LookupError):
        raise wrong_value(f"no such time zone: {value[:80]!r}; expected an IANA name such as Europe/Berlin") from None


def _check_folder(value: str) -> str:
    if not value.isprintable():
        raise wrong_value("expected the path of a directory")
    return value


def _parse_age(value: object) -> int:
    age = read_age(value) if isinstance(value, str) else None
    if not age:
        raise _unexpected_value("expected an age such as 90m, 24h or 7d", value)
    return age


def _check_wave_size(value: str) -> str:
    number = value.removesuffix("%")
    if not _WAVE_SIZE.fullmatch(value) or (number != value and int(number) > 100):
        raise _unexpected_value("expected a number of locations such as 5, or a share such as 10%", value)
    return value


def _parse_period(value: object) -> int:
    period = _parse_age(value)
    if not SHORTEST_MS <= period <= LONGEST_MS:
        raise _unexpected_value("expected a period from 1m to 30d", value)
    return period


def _parse_hour(value: object) -> int:
    """Minutes of the day."""
    match = _HOUR.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _unexpected_value('expected a time of day such as "09:00"', value)
    return int(match[1]) * 60 + int(match[2])


def _parse_days(value: object) -> tuple[int, ...]:
    """Days of the week from 0, Monday, sorted: `mon-fri`, or a list of days and such ranges."""
    parts = list(value) if isinstance(value, list) else [value]
    if not parts:
        raise wrong_value("a window without a day never opens")
    return tuple(sorted({day for part in parts for day in _read_days(part)}))


def _read_days(part: object) -> list[int]:
    match = _DAYS.fullmatch(part.lower()) if isinstance(part, str) else None
    if match is None:
        raise _unexpected_value("expected days such as mon-fri or [mon, wed]", part)
    first, last = DAYS.index(match[1]), DAYS.index(match[2] or match[1])
    # sat-mon goes over the end of the week
    return [(first + offset) % len(DAYS) for offset in range((last - first) % len(DAYS) + 1)]


def _check_region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise _unexpected_value("expected a country as two letters, such as DE", value)
    return value.upper()


def _check_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise wrong_value("expected one line of text")
    return value


_ANY_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_TEXT_SCALAR = WithJsonSchema(_ANY_SCALAR)
_MOMENT_SCHEMA = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)? ?([Zz]|[+-]\d{2}:\d{2}))?$",
}

_DAYS_SCHEMA = {"type": "string", "pattern": f"^{_DAYS.pattern}$"}
_AGE_SCHEMA = {"type": "string", "pattern": "^[0-9]{1,6}[smhdw]$"}

Text = Annotated[str, _TEXT_SCALAR]
Folder = Annotated[str, AfterValidator(_check_folder), _TEXT_SCALAR]
Age = Annotated[int, PlainValidator(_parse_age), WithJsonSchema(_AGE_SCHEMA)]
Period = Annotated[int, PlainValidator(_parse_period), WithJsonSchema(_AGE_SCHEMA)]
HourOfDay = Annotated[
    int, PlainValidator(_parse_hour), WithJsonSchema({"type": "string", "pattern": f"^{_HOUR.pattern}$"})
]
Days = Annotated[
    tuple[int, ...],
    PlainValidator(_parse_days),
    WithJsonSchema({"anyOf": [_DAYS_SCHEMA, {"type": "array", "items": _DAYS_SCHEMA, "minItems": 1}]}),
]
Region = Annotated[str, AfterValidator(_check_region), WithJsonSchema({**_ANY_SCALAR, "pattern": "^[A-Za-z]{2}$"})]
WaveSize = Annotated[
    str,
    AfterValidator(_check_wave_size),
    WithJsonSchema({**_ANY_SCALAR, "pattern": "^([1-9][0-9]{0,4}|(100|[1-9][0-9]?)%)$"}),
]
Line = Annotated[str, AfterValidator(_check_line), _TEXT_SCALAR]
TagText = Annotated[str, AfterValidator(_check_tag), _TEXT_SCALAR]
Name = Annotated[str, AfterValidator(_check_name), _TEXT_SCALAR]
LocationText = Annotated[
    str,
    AfterValidator(_check_location),
    WithJsonSchema({**_ANY_SCALAR, "pattern": f"^{_LOCATION.pattern}$"}),
]
Company = Annotated[
    str,
    AfterValidator(_check_company),
    WithJsonSchema({**_ANY_SCALAR, "pattern": f"^({_LOCATION.pattern})?$"}),
]
Flag = Annotated[bool, BeforeValidator(_parse_flag)]
Count = Annotated[int, BeforeValidator(_parse_whole), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_parse_whole), Field(ge=1)]
Percent = Annotated[float, BeforeValidator(_parse_number), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_parse_number), Field(ge=0, le=100)]
Moment = Annotated[datetime, PlainValidator(_parse_moment), WithJsonSchema(_MOMENT_SCHEMA)]
Variable = Annotated[str, AfterValidator(_check_variable)]
Version = Annotated[str, AfterValidator(_check_version), _TEXT_SCALAR]
Lineage = Annotated[str, AfterValidator(_check_lineage)]
BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
ContactUrl = Annotated[str, AfterValidator(_check_contact_url)]
TimeZone = Annotated[str, AfterValidator(_check_timezone)]


# bounds that stand around a parser of ours come out of pydantic under its own names
_BOUNDS = {"ge": "minimum", "le": "maximum"}


def clean_schema(value: Any) -> Any:
    """Without the null of optional keys, null defaults and generated titles; descriptions on one line."""
    if isinstance(value, list):
        return [clean_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {
        _BOUNDS.get(key, key): _clean_part(key, part) for key, part in value.items() if not _is_superfluous(key, part)
    }
    choices = made.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        values = [choice for choice in choices if choice != {"type": "null"}]
        del made["anyOf"]
        made = {**values[0], **made} if len(values) == 1 else {**made, "anyOf": values}
    return made


def _clean_part(key: str, part: Any) -> Any:
    # below these keys stand names and values of ours, not words of JSON Schema
    if key in ("properties", "$defs"):
        return {name: clean_schema(below) for name, below in part.items()}
    if key in ("examples", "default", "enum", "required"):
        return part
    if key == "description":
        return " ".join(part.split())
    return clean_schema(part)


def _is_superfluous(key: str, part: Any) -> bool:
    return (key == "default" and part is None) or (key == "title" and isinstance(part, str))
