"""An agency's token is exchanged; how the answer says so is an assumption."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sandbox.access import FORM, SandboxAgency
from reconciler.sandbox.app import SCOPES, App
from tests.build import HERE
from tests.sandbox.builders import ANNA, a_world, call, document


@pytest.mark.parametrize(
    ("switch", "status", "keys"),
    [
        ({}, 201, ("access_token", "expires_in")),
        ({"exchange_status": 200}, 200, ("access_token", "expires_in")),
        ({"exchange_in_camel_case": True}, 201, ("accessToken", "expiresIn")),
    ],
)
def test_how_an_exchange_is_answered_is_an_assumption(
    switch: dict[str, Any], status: int, keys: tuple[str, str]
) -> None:
    app = App(a_world(**switch), agency=SandboxAgency("agency", "company", SCOPES))
    headers = {"authorization": "Bearer agency", "content-type": FORM}
    body = f"companyId=company&locationId={HERE}".encode()
    response = call(app, "POST", "/oauth/locationToken", body, headers=headers)
    token, lasts = (document(response)[key] for key in keys)
    shown = call(app, "GET", f"/contacts/{ANNA}", headers={"authorization": f"Bearer {token}"})

    assert (response.status, lasts, shown.status) == (status, 86_399, 200)
