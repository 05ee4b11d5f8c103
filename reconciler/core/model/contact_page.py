"""Where the CRM shows a contact: an address that reports link to, and that reconciler never asks.

Law: no id leaves its place in the address; whatever is no letter or digit of it is percent-encoded.
"""

from __future__ import annotations

import re

from reconciler.core.model.names import ContactId, LocationId

LOCATION, CONTACT = "{location_id}", "{contact_id}"
LONGEST = 500
_PLACE = r"(?:[A-Za-z0-9._~/%?&=+,;-]|\{location_id\}|\{contact_id\})*"
_TEMPLATE = re.compile(rf"https://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]{{1,5}})?/{_PLACE}(?:#{_PLACE})?")
_SPECIAL = re.compile(r"[^A-Za-z0-9_~-]")


def is_contact_url(template: str) -> bool:
    """Whether the template makes an https address, with the contact's id in it and no placeholder but the two."""
    return len(template) <= LONGEST and CONTACT in template and _TEMPLATE.fullmatch(template) is not None


def contact_page(template: str, location: LocationId, contact: ContactId) -> str:
    """The address of a contact's page."""
    return template.replace(LOCATION, _encoded(location)).replace(CONTACT, _encoded(contact))


def _encoded(text: str) -> str:
    """An encoded text has no brace: it is never taken for a placeholder."""
    return _SPECIAL.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), text)


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "replace")
