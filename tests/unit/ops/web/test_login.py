"""`ops.web.login`: who is let in, and what a name that is no user's costs."""

import base64

from ops.cli.account import Role
from ops.web.login import Logins, WebUser


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def test_a_name_that_is_no_users_costs_a_check_too_and_is_not_let_in_by_the_others_password() -> None:
    checked: list[str] = []
    refused: list[str] = []

    def matches(stored: str, password: str) -> bool:
        checked.append(stored)
        return stored == f"stored {password}"

    logins = Logins({"joe": WebUser("joe", Role.GUEST, "stored right")}, matches, refused.append, failure_s=0.0)
    found = await logins.user_of(basic("joe", "right"))
    assert found is not None
    assert found.name == "joe"
    assert await logins.user_of(basic("joe", "wrong")) is None
    assert await logins.user_of(basic("ann", "right")) is None
    assert checked == ["stored right"] * 3
    assert refused == ["web: joe not let in", "web: ann not let in"]
