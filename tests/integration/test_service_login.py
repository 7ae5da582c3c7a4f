"""Who gets in as `service`, with stock OpenSSH: certificates, the derived key, one-time passwords; and who does not."""

import asyncio
from pathlib import Path

import pytest

from tests.support.need import needs
from tests.support.visit import NAME, Stock, visited

pytestmark = [needs("ssh")]


async def test_a_certificate_of_the_activation_and_the_derived_key_itself_are_let_in(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        with_certificate = await Stock(appliance, *support.certificate()).run("version")
        with_key = await Stock(appliance, support.own_key()).run("version")
    assert (with_certificate[0], with_key[0]) == (0, 0)
    assert b"42AB-CD" in with_certificate[1]
    logins = appliance.log("service-login")
    assert [(each["way"], each["engineer"], each["case"]) for each in logins] == [
        ("certificate", "ana", "SR12345"),
        ("key", "support", ""),
    ]
    assert any("case SR12345" in line and "ana@SR12345#" in line for line in appliance.audit.lines)
