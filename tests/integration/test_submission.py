"""Users log in at a real gateway, and extensions are used as clients use them; seen from outside and in the log."""

import hashlib
import hmac
import os
import re
import signal
import smtplib
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.record import Accepted, decode_accepted
from tests.support.journal import accepted_documents
from tests.support.lab import GATEPOST, gatepost, is_ready
from tests.support.ports import free_port
from tests.support.waiting import eventually

PASSWORD = "correct h\u00f6rse"


class Server(NamedTuple):
    directory: Path
    port: int

    def connect(self) -> smtplib.SMTP:
        """Come to where log-in is possible."""
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=60)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.ehlo("client.test")
        assert not client.has_extn("auth")
        client.starttls(context=context)
        client.ehlo("client.test")
        return client

    @property
    def log(self) -> str:
        file = self.directory / "log" / "mail_logs" / "mail.current"
        return file.read_text() if file.exists() else ""

    def logged(self, line: str) -> None:
        eventually(lambda: line in self.log, line)

    @property
    def accepted(self) -> list[Accepted]:
        return [decode_accepted(one) for one in accepted_documents(self.directory / "spool" / "journal" / "gateway-0")]


def stored_form(scheme: str) -> str:
    done = gatepost("password", "--scheme", scheme, stdin=f"{PASSWORD}\n")
    assert (done.status, done.err) == (0, "")
    return done.out.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory, port = tmp_path_factory.mktemp("submission") / "m", free_port()
    assert gatepost("init", "--role", "esa", "--dir", str(directory), "--hostname", "mx.example.org").status == 0
    config = directory / "gatepost.toml"
    text = config.read_text()
    assert text.count("[smtp_login]\n") == 1
    text = text.replace("[smtp_login]\n", "[smtp_login]\nfailure_delay_s = 0.2\n")
    text += f'\n[[listener]]\nname = "In"\nport = {port}\nrat = ["example.test", "xn--bcher-kva.test"]\n'
    text += 'policy = { tls = "preferred", auth = "offered" }\n'
    for name, scheme in (("joe", "argon2id"), ("ann", "scram-sha-256")):
        text += f'\n[[smtp_user]]\nname = "{name}"\npassword = "{stored_form(scheme)}"\n'
    config.write_text(text)
    assert gatepost("check", "--config", str(config)).status == 0
    argv = [*GATEPOST, "run", "gateway", "--config", str(config)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: is_ready(directory / "run" / "gateway-0.sock"), "the gateway is ready")
        yield Server(directory, port)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("user", ["joe", "ann"])
def test_a_user_logs_in_and_may_relay(server: Server, user: str, mechanism: str) -> None:
    with server.connect() as client:
        client.user, client.password = user, PASSWORD
        blobs = {"PLAIN": f"\0{user}\0{PASSWORD}".encode()}
        if mechanism == "PLAIN":
            code, _ = client.docmd("AUTH", f"PLAIN {b64encode(blobs['PLAIN']).decode()}")
        else:
            assert client.docmd("AUTH", "LOGIN")[0] == 334
            assert client.docmd(b64encode(user.encode()).decode())[0] == 334
            code, _ = client.docmd(b64encode(PASSWORD.encode()).decode())
        assert code == 235
        client.sendmail("a@example.test", [f"{user}.{mechanism}@elsewhere.test"], "Subject: x\r\n\r\nhello\r\n")
    server.logged(f"succeeded for user: {user} using AUTH mechanism: {mechanism} with profile: local")
    (accepted,) = (one for one in server.accepted if one.recipients[0].address.startswith(f"{user}.{mechanism}@"))
    assert accepted.authenticated == user
    assert re.match(
        rb"Received: from client\.test .*\r\n\tby mx\.example\.org with ESMTPSA \(TLSv1\.3 ", accepted.trace
    )


def test_a_user_logs_in_without_the_password_crossing_the_wire(server: Server) -> None:
    """A SCRAM-SHA-256 client of our own, by RFC 5802, which checks the server as well."""
    with server.connect() as client:
        bare = "n=ann,r=0123456789"
        code, first = client.docmd("AUTH", "SCRAM-SHA-256 " + b64encode(f"n,,{bare}".encode()).decode())
        assert code == 334
        challenge = b64decode(first).decode()
        nonce, salt, count = re.fullmatch(r"r=(0123456789[^,]+),s=([^,]+),i=(\d+)", challenge).groups()  # type: ignore[union-attr]
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b64decode(salt), int(count))
        key = hmac.digest(salted, b"Client Key", "sha256")
        message = f"{bare},{challenge},c=biws,r={nonce}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        code, last = client.docmd(b64encode(f"c=biws,r={nonce},p={b64encode(proof).decode()}".encode()).decode())
        assert code == 334
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        assert b64decode(last) == b"v=" + b64encode(hmac.digest(server_key, message, "sha256"))
        assert client.docmd("")[0] == 235
    server.logged("succeeded for user: ann using AUTH mechanism: SCRAM-SHA-256 with profile: local")


def test_three_failures_end_the_connection_and_leave_no_password_behind(server: Server) -> None:
    with server.connect() as client:
        wrong = b64encode(b"\0joe\0not the password").decode()
        assert [client.docmd("AUTH", f"PLAIN {wrong}")[0] for _ in range(3)] == [535, 535, 421]
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
    server.logged("failed for user: joe using AUTH mechanism: PLAIN with profile: local")
    assert not any(text in server.log for text in ("not the password", wrong, PASSWORD))


def test_log_in_without_tls_or_for_strangers_gets_nowhere(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
        client.ehlo("client.test")
        assert client.docmd("AUTH", "PLAIN AGpvZQB4")[0] == 538
        client.mail("a@example.test")
        assert client.rcpt("b@elsewhere.test")[0] == 550


def test_every_extension_leaves_its_mark_in_the_record(server: Server) -> None:
    with server.connect() as client:
        options = ["SMTPUTF8", "BODY=BINARYMIME", "RET=HDRS", "ENVID=abc+2B1", "REQUIRETLS"]
        client.command_encoding = "utf-8"
        assert client.mail("j\u00f6@x.test", options)[0] == 250
        assert (
            client.rcpt("j\u00f6@b\u00fccher.test", ["NOTIFY=SUCCESS,DELAY", "ORCPT=utf-8;j\\x{F6}@x.test"])[0] == 250
        )
        content = b"Subject: \xc3\xbc\r\n\r\nno lines\0\n.\n\r here"
        client.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
        assert client.getreply()[0] == 250
    (accepted,) = (one for one in server.accepted if one.smtputf8)
    assert (accepted.body, accepted.ret, accepted.envid) == ("BINARYMIME", "HDRS", "abc+2B1")
    assert (accepted.require_tls, accepted.protocol) == ("yes", "UTF8SMTPS")
    (recipient,) = accepted.recipients
    assert recipient.address == "j\u00f6@b\u00fccher.test"
    assert (recipient.notify, recipient.orcpt) == ("SUCCESS,DELAY", "utf-8;j\\x{F6}@x.test")


def test_a_configuration_that_offers_log_in_to_nobody_is_refused(server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "m"
    assert gatepost("init", "--role", "esa", "--dir", str(directory), "--hostname", "mx.example.org").status == 0
    config = directory / "gatepost.toml"
    text = '\n[[listener]]\nname = "In"\npolicy = { tls = "off", auth = "required" }\n'
    config.write_text(config.read_text() + text + '\n[[smtp_user]]\nname = "joe"\npassword = "plain text"\n')
    done = gatepost("check", "--config", str(config))
    assert done.status == 78
    assert "gatepost password" in done.err
    config.write_text(config.read_text().replace('[[smtp_user]]\nname = "joe"\npassword = "plain text"\n', ""))
    done = gatepost("check", "--config", str(config))
    assert done.status == 78
    assert "auth needs at least one [[smtp_user]]" in done.err
    assert "auth is under TLS only" in done.err
