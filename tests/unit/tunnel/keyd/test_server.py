"""tunnel.keyd.server over its socket: what is signed and derived, what is refused, all of it logged first."""

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.control import call
from core.errors import GatepostError
from tests.support.keyd import BASTION, Box, Clock, keyd
from tests.support.need import needs
from tunnel.audit import verify
from tunnel.keyd.api import Published
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.seed.code import new_code
from tunnel.seed.password import accept, verifiers

KEY_ID = "ana@SR1#12345678-1234-1234-1234-123456789abc"
DAY_S = 86400.0


def _public() -> str:
    return ssh.public_text(ssh.make_key())


def _facts(certificate: str) -> ssh.CertificateFacts:
    return ssh.certificate_facts(asyncssh.import_certificate(certificate))


def _options(certificate: str) -> set[str]:
    return set(asyncssh.import_certificate(certificate).options)  # type: ignore[attr-defined]


def _audit(folder: Path) -> list[dict[str, Any]]:
    verify(folder / "keyd" / "audit.jsonl")
    return [json.loads(line) for line in (folder / "keyd" / "audit.jsonl").read_text().splitlines()]


async def _refused(coroutine: Any, status: int, text: str) -> None:
    with pytest.raises(GatepostError, match=text) as caught:
        await coroutine
    assert caught.value.status == status


async def test_an_engineers_certificate_says_what_the_roles_permit(tmp_path: Path) -> None:
    async with keyd(tmp_path) as desk:
        public, holder = await desk.public(), _public()
        for roles, expected in (
            (("shell", "sftp"), {"permit-pty"}),
            (("sftp",), set()),
            (("shell", "forward"), {"permit-pty", "permit-port-forwarding"}),
        ):
            signed = await desk.sign_engineer(holder, "ana", "SR1", ["A-1"], life_s=600, roles=roles)
            assert _options(signed) == expected
            assert _facts(signed).principals == ("a-1",)
            assert ssh.key.signed_by(asyncssh.import_certificate(signed), public.engineer_ca)
        await _refused(desk.sign_engineer(holder, "ana", "SR1", ["A-1"], life_s=600, roles=["root"]), 64, "roles are")
        await _refused(desk.sign_engineer(holder, "ana", "SR1", ["*"], life_s=600), 64, "serial number")
        await _refused(desk.sign_engineer(holder, "ana", "SR1", ["A-1"], life_s=90_000), 64, "keyd:")
        await _refused(desk.sign_engineer("ssh-ed25519 AAAA", "ana", "SR1", ["A-1"], life_s=60), 64, "not a public key")
    lines = _audit(tmp_path)
    assert [line["event"] for line in lines] == ["sign-engineer"] * 3
    assert {line["holder"] for line in lines} == {ssh.fingerprint(holder)}


async def test_a_host_certificate_is_for_the_configured_names_only(tmp_path: Path) -> None:
    async with keyd(tmp_path, host_days=2) as desk:
        signed = await desk.sign_host(_public(), [BASTION.upper()])
        facts = _facts(signed)
        assert (facts.principals, facts.valid_before_at - facts.valid_after_at) == ((BASTION,), 2 * DAY_S + 60)
        await _refused(desk.sign_host(_public(), [BASTION, "evil.example.test"]), 77, "evil.example.test is not one")
        await _refused(desk.sign_host(_public(), []), 64, "keyd:")


@needs("ssh-keygen")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_openssh_takes_the_signature_of_a_recording_and_no_other(tmp_path: Path, algorithm: str) -> None:
    content = b"what support did\n" * 1000
    async with keyd(tmp_path) as desk:
        signature = await desk.sign_recording(hashlib.new(algorithm, content).hexdigest())
        signer = (await desk.public()).recording
        await _refused(desk.sign_recording("ab" * 20), 64, "keyd:")
    (tmp_path / "signature").write_text(signature)
    (tmp_path / "signers").write_text(f"keyd {signer}\n")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "keyd", "-n", "gatepost-recording"]
    words += ["-s", str(tmp_path / "signature")]
    assert subprocess.run(words, input=content, capture_output=True, check=False).returncode == 0
    assert subprocess.run(words, input=content + b".", capture_output=True, check=False).returncode != 0


async def test_a_seed_becomes_a_grant_that_certifies_and_gives_passwords(tmp_path: Path) -> None:
    box, now = Box(), Clock()
    async with keyd(tmp_path, now=now) as desk:
        seed = new_code(1, now.at + 3 * DAY_S)
        own = box.enable((await desk.public()).support_keys[0], seed)
        granted = await desk.grant(
            "SR1",
            box.serial,
            appliance_key=box.public,
            seed=seed.lower(),
            engineer="ana",
            published=Published(fingerprint=own.fingerprint, mode="tunnel"),
        )
        assert (granted.fingerprint, granted.mode, granted.checked) == (own.fingerprint, "tunnel", True)
        assert now.at + 3 * DAY_S < granted.until_at <= now.at + 4 * DAY_S

        signed = await desk.certify(granted.grant_id, _public(), KEY_ID + "!bastion", life_s=60)
        facts = _facts(signed)
        assert (facts.principals, facts.key_id) == ((box.serial.lower(),), KEY_ID + "!bastion")
        assert ssh.key.signed_by(asyncssh.import_certificate(signed), own.key)
        assert _options(signed) == {"permit-pty"}
        forwarded = await desk.certify(granted.grant_id, _public(), KEY_ID, life_s=60, forwarding=True)
        assert _options(forwarded) == {"permit-pty", "permit-port-forwarding"}
        longest = _facts(await desk.certify(granted.grant_id, _public(), KEY_ID, life_s=86_000))
        assert longest.valid_before_at - facts.valid_before_at <= 59 * 60 + 5  # certify_minutes: 60
        await _refused(
            desk.certify(granted.grant_id, _public(), KEY_ID.replace("SR1", "SR2"), life_s=60), 77, "for case SR1"
        )
        await _refused(desk.certify(granted.grant_id, _public(), "root", life_s=60), 64, "key_id")
        await _refused(desk.certify("nothing", _public(), KEY_ID, life_s=60), 66, "bring the seed in again")

        kept: tuple[str, ...] | None = verifiers(own.code_key)
        for number in (0, 1):
            given = await desk.password(granted.grant_id)
            assert (given.number, given.left) == (number, 49 - number)
            kept = accept(kept or (), given.password)
            assert kept is not None
        assert (await desk.password(granted.grant_id, 0)).number == 0

        assert await desk.forget(granted.grant_id)
        await _refused(desk.password(granted.grant_id), 66, "unknown")
    events = [line["event"] for line in _audit(tmp_path)]
    assert events == ["derive", "grant", "certify", "certify", "certify", "password", "password", "password", "forget"]


async def test_what_is_kept_holds_neither_seed_nor_secret(tmp_path: Path) -> None:
    box, now, seed = Box(), Clock(), "correct horse battery"
    async with keyd(tmp_path, now=now) as desk:
        own = box.enable((await desk.public()).support_keys[0], seed, "sshaccess")
        granted = await desk.grant("SR1", box.serial, appliance_key=box.public, seed=seed)
        assert (granted.fingerprint, granted.mode, granted.checked) == (own.fingerprint, "sshaccess", False)
        assert granted.until_at == now.at + 168 * 3600
        signed = await desk.certify(granted.grant_id, _public(), KEY_ID, life_s=60)
        assert ssh.key.signed_by(asyncssh.import_certificate(signed), own.key)
    for path in (tmp_path / "keyd").iterdir():
        assert b"horse" not in path.read_bytes(), path


async def test_wrong_seeds_are_counted_by_appliance_and_outlive_a_restart(tmp_path: Path) -> None:
    box, now = Box(), Clock()
    seed = new_code(1, now.at + DAY_S)

    def grant(desk: Keyd, text: str, engineer: str = "ana") -> Any:
        return desk.grant(
            "SR1", box.serial, appliance_key=box.public, seed=text, engineer=engineer, published=published
        )

    async with keyd(tmp_path, now=now) as desk:
        own = box.enable((await desk.public()).support_keys[0], seed)
        published = Published(fingerprint=own.fingerprint, mode="tunnel")
        await _refused(grant(desk, seed[:-1] + ("0" if seed[-1] != "0" else "1")), 65, "mistyped")
        await _refused(grant(desk, new_code(9, now.at + DAY_S)), 65, "support key 9, which is not here")
        for left in (4, 3, 2):
            await _refused(grant(desk, new_code(1, now.at + DAY_S)), 77, f"does not fit .* {left} tries are left")
    async with keyd(tmp_path, now=now) as desk:
        for left in (1, 0):
            await _refused(grant(desk, new_code(1, now.at + DAY_S)), 77, f"does not fit .* {left} tries are left")
        await _refused(grant(desk, seed, "bob"), 75, "too many wrong or unchecked seeds for .* wait 60 minutes")
        now.at += 3601
        assert (await grant(desk, seed, "bob")).checked
    events = [line["event"] for line in _audit(tmp_path)]
    assert events.count("wrong-seed") == 5


async def test_derivations_are_counted_by_engineer(tmp_path: Path) -> None:
    now = Clock()
    async with keyd(tmp_path, now=now, derivations_per_hour=2) as desk:
        boxes = [Box(f"a-{number}") for number in range(3)]

        def grant(box: Box, engineer: str) -> Any:
            return desk.grant("SR1", box.serial, appliance_key=box.public, seed="brown owls sing", engineer=engineer)

        assert {(await grant(box, "ana")).mode for box in boxes[:2]} == {"sshaccess"}
        await _refused(grant(boxes[2], "ana"), 75, "brought in by ana: 2 an hour")
        assert (await grant(boxes[2], "bob")).mode == "sshaccess"


async def test_seeds_cannot_be_guessed_by_comparing_the_fingerprint_elsewhere(tmp_path: Path) -> None:
    """Who left the published fingerprint out was told that of every seed, counted by an engineer's name only."""
    box, now = Box(), Clock()
    async with keyd(tmp_path, now=now, derivations_per_hour=100) as desk:
        for number in range(5):
            seed, engineer = f"brown owls sing {number}", f"e{number}"
            granted = await desk.grant("SR1", box.serial, appliance_key=box.public, seed=seed, engineer=engineer)
            assert not granted.checked
        last = desk.grant("SR1", box.serial, appliance_key=box.public, seed="brown owls sing 5", engineer="e5")
        await _refused(last, 75, "unchecked seeds for .* 5 an hour")


async def test_wrong_seeds_that_come_at_once_are_counted_one_by_one(tmp_path: Path) -> None:
    now = Clock()
    async with keyd(tmp_path, now=now, derivations_per_hour=100) as desk:
        box, published = Box(), Published(fingerprint="0" * 16, mode="tunnel")
        tries = [
            desk.grant(
                "SR1",
                box.serial,
                appliance_key=box.public,
                seed=new_code(1, now.at + DAY_S),
                engineer=f"e{n}",
                published=published,
            )
            for n in range(12)
        ]
        statuses = [getattr(each, "status", 0) for each in await asyncio.gather(*tries, return_exceptions=True)]
    assert sorted(statuses) == [75] * 7 + [77] * 5


async def test_a_forged_appliance_key_agrees_on_nothing(tmp_path: Path) -> None:
    async with keyd(tmp_path) as desk:
        zero = "A" * 43 + "="
        await _refused(desk.grant("SR1", "a-1", appliance_key=zero, seed="brown owls sing"), 65, "nothing secret")
        await _refused(desk.grant("SR1", "a-1", appliance_key="AAAA", seed="brown owls sing"), 64, "appliance_key")
        await _refused(desk.grant("SR1", "*", appliance_key=zero, seed="brown owls sing"), 64, "serial of an appliance")


async def test_support_keys_follow_each_other_and_open_grants_hold_one_back(tmp_path: Path) -> None:
    box, now = Box(), Clock()
    async with keyd(tmp_path, now=now) as desk:
        old = (await desk.public()).support_keys[0]
        seed = new_code(1, now.at + DAY_S)
        own = box.enable(old, seed)
        published = Published(fingerprint=own.fingerprint)
        now.at += 1
        assert [key.key_id for key in await desk.rotate()] == [1, 2]
        assert await desk.grant("SR1", box.serial, appliance_key=box.public, seed=seed, published=published)
        await _refused(desk.rotate(retire=1), 69, "1 open grants .* --force")
        newer = (await desk.public()).support_keys[-1]
        again = new_code(newer.key_id, now.at + DAY_S)
        published = Published(fingerprint=box.enable(newer, again).fingerprint)
        granted = await desk.grant("SR1", box.serial, appliance_key=box.public, seed=again, published=published)
        assert [key.key_id for key in await desk.rotate(retire=1)] == [2]
        assert await desk.password(granted.grant_id)
    events = [line["event"] for line in _audit(tmp_path)]
    assert [event for event in events if event.startswith("support-key")] == ["support-key-new", "support-key-retire"]


async def test_what_cannot_be_logged_is_not_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with keyd(tmp_path) as desk:
        monkeypatch.setattr("tunnel.audit.os.fsync", _full)
        await _refused(desk.sign_recording("ab" * 32), 74, "nothing was handed out")
        await _refused(desk.sign_engineer(_public(), "ana", "SR1", ["A-1"], life_s=60), 74, "No space left")


def _full(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


async def test_words_that_do_not_fit_are_refused_without_repeating_them(tmp_path: Path) -> None:
    async with keyd(tmp_path):
        socket = tmp_path / "run" / SOCKET
        for args in ({"seed": ["secret words"]}, {"case": "SR1", "seed": "secret words", "further": 1}, {}):
            with pytest.raises(GatepostError) as caught:
                await call(socket, "grant", **args)
            assert caught.value.status == 64
            assert "secret" not in caught.value.text
