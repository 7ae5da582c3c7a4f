"""`userconfig`, `passwd`, `totp`, `sshconfig`, `last` on a machine whose configuration is edited and committed."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.password import make_hash, matches
from core.ssh import fingerprint, make_key, public_text
from ops.access import store
from ops.access.record import Records
from ops.access.store import Attempt
from ops.cli.account import Caller, Grant, Role
from protocol import totp
from tests.support.editing import TEXT
from tests.support.operating import Operating

KEY = public_text(make_key("ann@desk"))
OTHER = public_text(make_key("spare"))
USERS = f"""
[[user]]
name = "ann"
role = "administrator"
keys = ["{KEY}"]

[[user]]
name = "bob"
role = "operator"
login = ["password"]
password = "{make_hash("plum tree lane")}"
must_change = true
"""
ANN = Caller("ann", Role.ADMINISTRATOR, "192.0.2.7")


class Machine(Operating):
    """An operated machine with users and a record of log-ins."""

    def __init__(self, folder: Path, users: str = USERS) -> None:
        self.records = Records(folder / "state" / "access.db")
        super().__init__(folder, TEXT + users, records=self.records)

    async def did(self, line: str, caller: Caller = ANN, stdin: str = "") -> Any:
        result = await self.ran(f"{line} --json", caller, stdin.encode())
        assert (result.status, result.error) == (0, ""), result.error
        return json.loads(result.output)

    def pending(self, name: str) -> Any:
        rows = self.appliance.editing("ann").tables()["user"]
        return next((row for row in rows if row["name"] == name), None)


@pytest.fixture
async def box(tmp_path: Path) -> Any:
    made = Machine(tmp_path)
    yield made
    await made.records.close()


async def test_a_user_is_created_with_a_password_that_is_nowhere_to_be_read(box: Machine) -> None:
    document = await box.did("userconfig new eve --role operator --login password", stdin="nine blue windows\n")
    assert document["pending"]
    row = box.pending("eve")
    assert matches(row["password"], "nine blue windows")
    assert (row["role"], row["login"], row["must_change"]) == ("operator", ["password"], True)
    shown = (await box.ran("userconfig list", ANN)).output
    assert "nine" not in shown + "".join(box.audit.lines)
    assert row["password"] not in shown
    assert "must change the password" in shown


@pytest.mark.parametrize(
    ("line", "stdin", "why"),
    [
        ("userconfig new ann --key '" + OTHER + "'", "", "there is a user 'ann' already"),
        ("userconfig new eve --login password", "password1\n", "too easily guessed"),
        ("userconfig new eve --login password", "", "as the one line of standard input"),
        ("userconfig new eve --login magic", "", "ways to log in are key, password"),
        ("userconfig new Eve --key '" + OTHER + "'", "", "user[3].name"),
        ("userconfig new eve --key nonsense", "", "not an SSH public key"),
        ("userconfig edit bob --login key+totp,password --role king", "", "'king' is not one of"),
        ("userconfig edit ann --login password", "", "ann has no password"),
        ("userconfig delete eve", "", "there is no user 'eve'; there are: ann, bob"),
        ("userconfig delete ann", "", "no administrator could log in any more"),
        ("userconfig edit ann --role guest", "", "no administrator could log in any more"),
        ("userconfig edit ann --commands version", "", "no administrator could log in any more"),
        ("sshconfig userkey delete ann 1", "", "no administrator could log in any more"),
        ("sshconfig userkey new bob nonsense", "", "not an SSH public key"),
        ("sshconfig userkey new ann '" + KEY + "'", "", "ann has this key already"),
        ("sshconfig sshd --ciphers 3des-cbc", "", "console.ciphers"),
        ("sshconfig login --least-length 2", "", "login.least_length"),
    ],
)
async def test_what_is_refused_leaves_nothing_pending(box: Machine, line: str, stdin: str, why: str) -> None:
    result = await box.ran(line, ANN, stdin.encode())
    assert result.status in {64, 65, 66}
    assert why in result.error
    assert not box.appliance.editing("ann").pending


async def test_codes_are_made_shown_once_and_taken_away(box: Machine) -> None:
    document = await box.did("userconfig edit ann --login key+totp")
    row = box.pending("ann")
    assert row["totp_secret"] == document["secret"]
    assert document["uri"].startswith("otpauth://totp/esa.example.test%3Aann?secret=" + document["secret"])
    assert len(document["recovery_codes"]) == len(row["recovery_secret"]) == 10
    assert document["recovery_codes"][0] not in str(row)
    assert document["secret"] not in (await box.ran("userconfig list --json", ANN)).output
    codes = await box.did("userconfig totp codes ann")
    assert "secret" not in codes
    assert set(codes["recovery_codes"]).isdisjoint(document["recovery_codes"])
    await box.did("userconfig totp delete ann")
    assert (box.pending("ann")["login"], "totp_secret" in box.pending("ann")) == (["key"], False)


async def test_a_lock_is_seen_and_ended(box: Machine) -> None:
    attempt = Attempt("bob", "203.0.113.9", "cli", 4e9)
    standing = [("user/bob", 0.0, 4e9, 4e9, 1), ("source/203.0.113.9", 0.0, 4e9, 4e9, 1)]
    for row in standing:
        await box.records.change(lambda db, one: db.query("INSERT INTO lock VALUES (?, ?, ?, ?, ?)", one), row)
    await box.records.change(store.note_failure, attempt, "password", "wrong password")
    assert "locked until" in (await box.ran("userconfig list", ANN)).output
    assert (await box.did("userconfig unlock bob"))["unlocked"] == ["user/bob"]
    assert (await box.did("userconfig unlock 203.0.113.9"))["unlocked"] == ["source/203.0.113.9"]
    assert "bob was not locked out" in (await box.ran("userconfig unlock bob", ANN)).output
    rows = (await box.did("last --failed"))["logins"]
    assert [(row["user"], row["source"], row["reason"]) for row in rows] == [("bob", "203.0.113.9", "wrong password")]


async def test_passwd_counts_at_once_and_commits_nothing_else(box: Machine) -> None:
    bob = Caller("bob", Role.OPERATOR, "192.0.2.8", grant=Grant(must_change=True))
    refused = await box.ran("version", bob)
    assert (refused.status, refused.error[:43]) == (77, "your password has to be changed first; log ")
    wrong = await box.ran("passwd", bob, b"guess-1234\nnine blue windows\n")
    assert (wrong.status, wrong.error) == (77, "that is not your password; nothing was changed")
    await box.did("sshconfig login --failures 7")
    await box.did("passwd", bob, "plum tree lane\nnine blue windows\n")
    in_force = box.appliance.editing("bob").in_force()
    row = in_force["user"][1]
    assert matches(row["password"], "nine blue windows")
    assert "must_change" not in row
    assert "login" not in in_force
    assert box.appliance.editing("ann").pending
    assert not bob.grant.must_change
    assert (await box.ran("version", bob)).status == 0
    assert "plum" not in "".join(box.audit.lines)


async def test_passwd_is_not_for_those_who_have_no_user(box: Machine) -> None:
    for caller in (Caller("local", Role.ADMINISTRATOR), Caller("service", Role.SUPPORT, "tunnel"), ANN):
        assert (await box.ran("passwd", caller, b"x\nnine blue windows\n")).status == 77


async def test_a_user_makes_the_own_codes_at_once(box: Machine) -> None:
    document = await box.did("totp new")
    row = box.appliance.editing("ann").in_force()["user"][0]
    assert row["totp_secret"] == document["secret"]
    assert totp.secret_octets(document["secret"])
    bob = Caller("bob", Role.OPERATOR, "192.0.2.8")
    assert (await box.ran("totp new", bob, b"wrong password\n")).status == 77
    assert (await box.did("totp new", bob, "plum tree lane\n"))["secret"]


async def test_keys_are_added_listed_and_taken(box: Machine) -> None:
    await box.did("sshconfig userkey new bob", stdin=OTHER + "\n")
    keys = (await box.did("sshconfig userkey list bob"))["user_keys"]["bob"]
    assert [(key["fingerprint"], key["comment"]) for key in keys] == [(fingerprint(OTHER), "spare")]
    await box.did(f"sshconfig userkey delete bob {fingerprint(OTHER)}")
    assert box.pending("bob")["keys"] == []


async def test_the_servers_settings_are_changed_and_go_back_to_the_default(box: Machine) -> None:
    await box.did("sshconfig sshd --ciphers aes256-gcm@openssh.com --paging no --banner -", stdin="Keep out.\nNow.\n")
    assert box.appliance.editing("ann").tables()["console"] == {
        "ciphers": ["aes256-gcm@openssh.com"],
        "paging": False,
        "banner": "Keep out.\nNow.",
    }
    await box.did("sshconfig sshd --ciphers default")
    assert "ciphers" not in box.appliance.editing("ann").tables()["console"]


async def test_the_menu_creates_a_user_as_it_is_typed(box: Machine) -> None:
    shown = await box.talked(
        *("userconfig", "new", "eve", "2", "1,2", OTHER, "nine blue windows", "nine blue window"),
        *("nine blue windows", "nine blue windows", "", ""),
        caller=ANN,
    )
    assert "The two differ." in shown
    assert "User eve created; pending until `commit`." in shown
    row = box.pending("eve")
    assert (row["login"], row["keys"], row["must_change"]) == (["key", "password"], [OTHER], True)


async def test_the_menu_of_sshconfig_asks_for_each_setting(box: Machine) -> None:
    shown = await box.talked("sshconfig", "login", "10", "90", "", "", "", "", caller=ANN)
    assert "Least length of a password: [8]> 10" in shown
    assert box.appliance.editing("ann").tables()["login"] == {"least_length": 10, "age_days": 90}


async def test_guests_see_themselves_and_no_users(box: Machine) -> None:
    guest = Caller("gast", Role.GUEST, "192.0.2.9")
    assert (await box.did("whoami", guest)) == {"user": "gast", "identity": "", "role": "guest", "source": "192.0.2.9"}
    for line in (
        "userconfig list",
        "sshconfig list",
        "last",
        "who",
        "userconfig unlock bob",
        "userconfig totp new ann",
    ):
        assert (await box.ran(line, guest)).status == 77


async def test_tab_offers_the_users_that_there_are(box: Machine) -> None:
    def offered(text: str) -> list[str]:
        return box.executor.registry.complete(text, box.appliance, ANN)

    assert {"ann", "bob"} <= set(offered("userconfig edit "))
    assert offered("sshconfig userkey delete b") == ["bob"]
    assert offered("userconfig totp d") == ["delete"]
