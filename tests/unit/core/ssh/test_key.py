"""core.ssh.key: keys from octets, signatures of digests, and who signed a certificate."""

import hashlib
import subprocess
from pathlib import Path

import asyncssh
import pytest

from core import ssh
from core.ssh.key import key_of, sign_digest, signed_by
from tests.support.need import needs


def test_the_same_octets_give_the_same_key() -> None:
    assert ssh.same_key(key_of(b"s" * 32), key_of(b"s" * 32))
    assert not ssh.same_key(key_of(b"s" * 32), key_of(b"t" * 32))


@needs("ssh-keygen")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_openssh_takes_a_signature_that_was_made_of_the_digest_alone(tmp_path: Path, algorithm: str) -> None:
    key, content = ssh.make_key(), b"what was recorded"
    (tmp_path / "signature").write_text(sign_digest(key, hashlib.new(algorithm, content).digest(), "gatepost-test"))
    (tmp_path / "signers").write_text(f"one {ssh.public_text(key)}\n")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "one", "-n"]
    for namespace, data, good in (
        ("gatepost-test", content, True),
        ("gatepost-test", content + b"!", False),
        ("other", content, False),
    ):
        done = subprocess.run(
            [*words, namespace, "-s", str(tmp_path / "signature")], input=data, capture_output=True, check=False
        )
        assert (done.returncode == 0) is good


def test_a_digest_of_another_length_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        sign_digest(ssh.make_key(), b"short", "gatepost-test")


def test_a_certificate_says_who_signed_it_and_a_changed_one_is_not_read() -> None:
    authority, other = ssh.make_key(), ssh.make_key()
    certificate = ssh.host_certificate(authority, other, key_id="x", principals=["a"], life_s=60)
    assert signed_by(certificate, authority)
    assert signed_by(certificate, ssh.public_text(authority))
    assert not signed_by(certificate, other)
    kind, blob = ssh.certificate_text(certificate).split()[:2]
    changed = blob[:100] + ("A" if blob[100] != "A" else "B") + blob[101:]
    with pytest.raises(asyncssh.KeyImportError):
        asyncssh.import_certificate(f"{kind} {changed}")
