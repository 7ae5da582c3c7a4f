"""`gatepost systemd install` and `remove` on the root folder of another system: users, links, ownership, units."""

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.lab import Ran, gatepost
from tests.support.need import as_root, needs

pytestmark = [as_root("makes users and gives files away"), needs("systemd-sysusers", "systemd-tmpfiles")]
UNITS = Path("etc/systemd/system")


class System(NamedTuple):
    """A system's root folder with a machine in it that was just made."""

    root: Path

    @property
    def machine(self) -> Path:
        return self.root / "var/lib/gatepost"

    @property
    def config(self) -> Path:
        return self.machine / "gatepost.toml"

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new, 1))

    def do(self, verb: str, *words: str) -> Ran:
        return gatepost("systemd", verb, *words, "--root", str(self.root))

    def install(self, *words: str) -> Ran:
        return self.do("install", "--executable", "/usr/bin/gatepost", *words)

    def user(self, name: str) -> int:
        rows = (line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines())
        return next(int(row[2]) for row in rows if row[0] == name)

    def written(self, folder: str) -> str:
        return (self.root / UNITS / folder / "50-machine.conf").read_text()


def _made(root: Path, role: str) -> System:
    system = System(root)
    made = gatepost("init", "--role", role, "--dir", str(system.machine), "--hostname", "m.example.test")
    assert made.status == 0, made
    return system


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> System:
    return _made(tmp_path_factory.mktemp("template") / "system", "esa")


@pytest.fixture
def esa(template: System, tmp_path: Path) -> System:
    shutil.copytree(template.root, tmp_path / "system", symlinks=True)
    return System(tmp_path / "system")


def test_the_folder_is_linked_and_given_to_its_users_and_keeps_its_logs(esa: System) -> None:
    (esa.machine / "log" / "mail_logs").mkdir()
    (esa.machine / "log" / "mail_logs" / "mail.current").write_text("a line\n")
    done = esa.install()
    assert (done.status, done.err) == (0, ""), done
    assert done.out.endswith("next, on the machine itself: systemctl enable --now gatepost-esa.target\n")
    assert os.readlink(esa.machine / "run") == "/run/gatepost"
    assert os.readlink(esa.machine / "log") == "/var/log/gatepost"
    assert os.readlink(esa.root / "etc/gatepost/gatepost.toml") == "/var/lib/gatepost/gatepost.toml"
    assert (esa.root / "var/log/gatepost/mail_logs/mail.current").read_text() == "a line\n"
    owners = {path.lstat().st_uid for path in [esa.machine, *esa.machine.rglob("*")]}
    assert owners == {esa.user("gatepost")}
    assert (esa.root / "var/log/gatepost/mail_logs/mail.current").stat().st_uid == esa.user("gatepost")
    assert stat.S_IMODE(esa.machine.stat().st_mode) == 0o750


def test_keyds_folder_is_its_users_alone(tmp_path: Path) -> None:
    bastion = _made(tmp_path / "system", "bastion")
    bastion.change("#engineer_address = (needed)", 'engineer_address = "127.0.0.1"')
    assert bastion.install().status == 0
    keyd = bastion.machine / "keyd"
    assert {path.stat().st_uid for path in [keyd, *keyd.iterdir()]} == {bastion.user("gatepost-keyd")}
    assert bastion.user("gatepost-keyd") != bastion.user("gatepost")
    assert stat.S_IMODE(keyd.stat().st_mode) == 0o700


def test_a_second_time_changes_nothing_and_another_port_only_its_socket(esa: System) -> None:
    esa.change("#gateways = 1", "gateways = 3")
    assert esa.install().status == 0
    assert esa.install().out.startswith("units of a machine of role esa: nothing changed\n")
    assert esa.written("gatepost-esa.target.d").count("gatepost-gateway@") == 3
    esa.change("#port = 443", "port = 8443")
    assert esa.install("--role", "esa").out.startswith("units of a machine of role esa: 1 files changed\n")
    assert "ListenStream=127.0.0.1:8443\n" in esa.written("gatepost-web.socket.d")


def test_what_the_configuration_no_longer_asks_for_is_taken_away(esa: System) -> None:
    esa.change('#service_user = ""', 'service_user = "gatepost-support"')
    assert esa.install().status == 0
    assert "CAP_SETUID" in esa.written("gatepost-console.service.d")
    esa.change('service_user = "gatepost-support"', 'service_user = ""')
    assert esa.install().status == 0
    assert not (esa.root / UNITS / "gatepost-console.service.d").exists()


def test_without_a_machine_the_command_that_makes_one_is_told(tmp_path: Path) -> None:
    tried = System(tmp_path).install("--role", "sma")
    assert (tried.status, tried.out, tried.err.count("\n")) == (78, "", 1)
    assert "no machine is here yet" in tried.err
    assert f"gatepost init --role sma --dir {tmp_path}/var/lib/gatepost" in tried.err
    assert list(tmp_path.iterdir()) == []


def test_another_role_than_the_machines_is_refused_before_anything_is_written(esa: System) -> None:
    tried = esa.install("--role", "sma")
    assert tried.status == 64
    assert "is of role esa, not sma" in tried.err
    assert not (esa.root / "etc").exists()


def test_an_executable_that_units_could_not_see_is_refused(esa: System) -> None:
    home = esa.root / "root/venv/bin/gatepost"
    home.parent.mkdir(parents=True)
    home.write_text("#!/bin/sh\n")
    tried = esa.do("install", "--executable", str(home))
    assert (tried.status, tried.err.count("\n")) == (78, 1)
    assert (
        "/root/venv/bin/gatepost: units see neither home folders nor /tmp; install into a folder such as" in tried.err
    )
    assert not (esa.root / "etc").exists()


def test_logs_in_both_places_are_refused_and_none_is_lost(esa: System) -> None:
    for folder in (esa.machine / "log", esa.root / "var/log/gatepost"):
        (folder / "mail_logs").mkdir(parents=True)
        (folder / "mail_logs" / "mail.current").write_text(str(folder))
    tried = esa.install()
    assert tried.status == 73
    assert "both have mail_logs; move one of each away, and do this again" in tried.err
    assert (esa.machine / "log/mail_logs/mail.current").exists()


def test_a_configuration_that_an_editor_put_in_the_links_place_is_refused(esa: System) -> None:
    assert esa.install().status == 0
    link = esa.root / "etc/gatepost/gatepost.toml"
    link.unlink()
    link.write_text(esa.config.read_text())
    tried = esa.install()
    assert (tried.status, tried.err.count("\n")) == (73, 1)
    assert f"to take it as the configuration: mv {link} {esa.config}" in tried.err


def test_remove_takes_the_units_and_leaves_the_machine(esa: System) -> None:
    assert esa.install().status == 0
    own = esa.root / UNITS / "gatepost-web.service.d" / "60-own.conf"
    own.parent.mkdir()
    own.write_text("[Service]\nNice=1\n")
    done = esa.do("remove")
    assert done.status == 0, done
    assert [path for path in (esa.root / "etc").rglob("*gatepost*") if path.suffix in {".service", ".socket"}] == []
    assert own.exists()
    assert esa.config.exists()
    assert (esa.machine / "run").is_dir()
    assert not (esa.machine / "run").is_symlink()
