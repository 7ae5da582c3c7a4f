"""tunnel.bastion.authority: what the bastion knows without keyd, and how its host certificate is renewed."""

from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from core import ssh
from core.ssh.key import signed_by
from tests.support.keyd import BASTION, Clock, keyd
from tests.support.service import running
from tunnel.bastion.authority import Authority, HostKey, Known, introduce
from tunnel.keyd.client import SOCKET, Keyd

HOST_KEY = ssh.make_key()
DAY_S = 86400.0


def _authority(
    folder: Path,
    seen: list[HostKey] | None = None,
    names: tuple[str, ...] = (BASTION,),
    now: Callable[[], float] | None = None,
) -> Authority:
    (folder / "keys").mkdir(exist_ok=True)
    client = Keyd(folder / "run" / SOCKET)
    renewed = [] if seen is None else seen
    more = {"now": now} if now else {}
    return Authority(client, HOST_KEY, names=names, directory=folder, renewed=renewed.append, **more)


def _certificate(authority: Authority) -> asyncssh.SSHCertificate:
    assert isinstance(authority.host_key, tuple)
    return authority.host_key[1]


async def test_it_gets_both_from_keyd_and_has_them_without_it_afterwards(tmp_path: Path) -> None:
    seen: list[HostKey] = []
    async with keyd(tmp_path) as desk:
        first = _authority(tmp_path, seen)
        assert (first.engineer_cas, first.host_key) == ((), HOST_KEY)
        async with running(first):
            public = await desk.public()
            assert first.engineer_cas == (public.engineer_ca,)
        assert seen == [first.host_key]
        assert signed_by(_certificate(first), public.host_ca)
    seen.clear()
    second = _authority(tmp_path, seen)
    assert second.engineer_cas == (public.engineer_ca,)
    assert ssh.certificate_facts(_certificate(second)).principals == (BASTION,)
    async with running(second, within_s=2):  # keyd is away
        assert seen == []


async def test_what_init_writes_down_is_enough_to_start(tmp_path: Path) -> None:
    introduce(tmp_path, Known("ssh-ed25519 AAAA engineer", "ssh-ed25519 AAAA host", ""))
    authority = _authority(tmp_path)
    async with running(authority, within_s=2):
        assert authority.engineer_cas == ("ssh-ed25519 AAAA engineer",)
        assert authority.host_key == HOST_KEY


@pytest.mark.parametrize(("left", "anew"), [(31, False), (29, True)])
async def test_the_certificate_is_renewed_in_the_last_third_of_its_life(tmp_path: Path, left: int, anew: bool) -> None:
    async with keyd(tmp_path):
        async with running(_authority(tmp_path)):
            pass
        ends_at = ssh.certificate_facts(_certificate(_authority(tmp_path))).valid_before_at
        seen: list[HostKey] = []
        later = _authority(tmp_path, seen, now=Clock(ends_at - left * DAY_S))
        async with running(later):
            pass
        assert bool(seen) is anew


async def test_a_certificate_that_has_run_out_or_is_for_other_names_is_not_shown(tmp_path: Path) -> None:
    async with keyd(tmp_path, names=(BASTION, "new.example.test")):
        async with running(_authority(tmp_path)):
            pass
        ends_at = ssh.certificate_facts(_certificate(_authority(tmp_path))).valid_before_at
        assert _authority(tmp_path, now=Clock(ends_at)).host_key == HOST_KEY
        assert _authority(tmp_path, names=(BASTION, "new.example.test")).host_key == HOST_KEY
        more = _authority(tmp_path, names=(BASTION, "new.example.test"))
        async with running(more):
            pass
        assert set(ssh.certificate_facts(_certificate(more)).principals) == {BASTION, "new.example.test"}


async def test_a_new_host_authority_signs_anew(tmp_path: Path) -> None:
    async with keyd(tmp_path), running(_authority(tmp_path)):
        pass
    (tmp_path / "keyd" / "host_ca_ed25519").unlink()
    async with keyd(tmp_path) as desk:
        authority = _authority(tmp_path)
        async with running(authority):
            pass
        assert signed_by(_certificate(authority), (await desk.public()).host_ca)


async def test_a_name_that_keyd_does_not_know_is_said_and_stops_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with keyd(tmp_path):
        authority = _authority(tmp_path, names=("other.example.test",))
        async with running(authority, within_s=2):
            assert authority.engineer_cas
            assert authority.host_key == HOST_KEY
    assert "other.example.test is not one of the bastion's names" in capfd.readouterr().err
