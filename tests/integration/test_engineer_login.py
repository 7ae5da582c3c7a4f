"""What an engineer reads who is not let in, as OpenSSH's client shows it, and what the audit log keeps of it."""

from pathlib import Path
from typing import Any

from core import ssh
from tests.support.need import needs
from tests.support.remote import CASE, NAME, SERIAL, Engineer, Support, connected
from tests.support.service import running
from tests.support.waiting import until

pytestmark = needs("ssh")
KEY_ID = f"ana@{CASE}#{'0' * 36}"


class Login:
    """An engineer with one certificate, at a bastion."""

    def __init__(
        self,
        support: Support,
        folder: Path,
        *,
        authority: Any = None,
        times: tuple[str, str] = ("-1m", "+5m"),
        principals: tuple[str, ...] = (NAME,),
    ) -> None:
        self.engineer = Engineer(support, folder)
        signer = authority or ssh.read_key(support.directory / "keyd" / "engineer_ca_ed25519")
        certificate = signer.generate_user_certificate(
            ssh.read_key(self.engineer.key_path),
            KEY_ID,
            principals=list(principals),
            valid_after=times[0],
            valid_before=times[1],
        )
        self.engineer.certificate.write_text(ssh.certificate_text(certificate) + "\n")

    async def words(self, user: str = NAME) -> str:
        """Log in in vain; gives what OpenSSH's client says."""
        status, _, error = await self.engineer.stock(f"{user}@127.0.0.1", "version")
        assert status == 255
        return error.decode()


UNFIT: list[tuple[dict[str, Any], str, str]] = [
    ({"times": ("-2h", "-1h")}, NAME, "your certificate ran out at "),
    ({"times": ("+1h", "+2h")}, NAME, "your certificate is good only from "),
    ({"principals": ("sn-9", "sn-8")}, NAME, f"your certificate is not for {SERIAL}, but for SN-9, SN-8"),
    ({"principals": ()}, NAME, f"your certificate is not for {SERIAL}, but for nothing"),
    ({}, "ana", f"your certificate is not for ANA, but for {SERIAL}"),
    ({}, "a*", f"your certificate is not for A*, but for {SERIAL}"),
]


async def test_whose_certificate_does_not_fit_reads_why_and_the_audit_log_says_the_same(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    async with running(*support.services):
        for number, (certificate, user, words) in enumerate(UNFIT):
            said = await Login(support, tmp_path / f"ana{number}", **certificate).words(user)
            assert said.startswith(words), said
            assert "Permission denied" in said
            assert said.count("your certificate") == 1
            assert ("the user name is a serial number of it" in said) is ("not for" in said)
            await until(lambda: len(support.refusals("certificate")) == number + 1)  # noqa: B023
            noted = support.refusals("certificate")[-1]
            assert noted.startswith(words)
            assert KEY_ID in noted


async def test_a_stranger_reads_nothing_and_the_audit_log_says_what_was_shown(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    async with running(*support.services):
        stranger = Login(support, tmp_path / "eve", authority=ssh.make_key(), times=("-2h", "-1h"))
        assert "certificate" not in await stranger.words()
        await until(lambda: support.refusals("certificate") == ["a certificate of another authority was shown"])
        stranger.engineer.certificate.unlink()
        assert "certificate" not in await stranger.words("eve")
        key = ssh.fingerprint(ssh.read_key(stranger.engineer.key_path))
        await until(lambda: f"no certificate: the key {key} alone was shown" in support.refusals("certificate"))


async def test_a_serial_is_taken_as_it_is_printed(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        engineer = Engineer(support, tmp_path / "ana")
        for user in (SERIAL.upper(), NAME):
            status, out, error = await engineer.stock(f"{user}@127.0.0.1", "who")
            assert (status, error) == (0, b"")
            assert b'"ana"' in out
        assert {each["serial"] for each in support.audit() if each["event"] == "engineer"} == {NAME}
        assert not support.refusals()
