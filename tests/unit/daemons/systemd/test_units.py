"""The units as they are delivered and as they are installed: systemd's own checks, and what all must have."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from core.config.document import check_document
from daemons.config import DOCUMENTS
from daemons.gatepost import DAEMONS
from daemons.systemd import tailoring, units
from tests.support.need import needs

SYSTEM = units.SYSTEM
EXECUTABLE = Path("/opt/gatepost/bin/gatepost")
EXPOSURE = 20
"""Tenths: what `systemd-analyze security` may give at most. More with support's login shell (docs/systemd.md)."""


def _document(role: str, **sections: object) -> tailoring.Document:
    appliance = {"role": role, "serial": "S", "hostname": "m.example"}
    bastion = {"bastion": {"engineer_address": "192.0.2.7"}} if role == "bastion" else {}
    return check_document({"appliance": appliance} | bastion | sections, DOCUMENTS[role], "test")


@pytest.fixture(scope="module", params=DOCUMENTS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all units of a machine of one role, which start a program that is there."""
    folder = tmp_path_factory.mktemp(request.param)
    files = units.unit_files(Path("/bin/true")) | tailoring.drop_ins(_document(request.param, runtime={"gateways": 2}))
    units.write(folder, files)
    return folder


def _services() -> list[Path]:
    return sorted(units.source().glob("gatepost-*.service"))


def test_every_daemon_has_a_service_and_none_is_left_over() -> None:
    names = {path.stem.removeprefix("gatepost-").removesuffix("@") for path in _services()}
    assert names == set(DAEMONS)


def test_each_target_wants_the_daemons_of_its_role_and_their_sockets() -> None:
    for role in DOCUMENTS:
        text = (units.source() / f"gatepost-{role}.target").read_text()
        services = set(re.findall(r"gatepost-([a-z-]+)(?:@0)?\.service", text))
        assert services == {name for name, roles in DAEMONS.items() if role in roles}
        for name in set(re.findall(r"gatepost-[a-z-]+\.socket", text)):
            assert f"gatepost-{role}.target" in (units.source() / name).read_text()


def test_units_start_and_reload_the_daemon_that_they_are_named_for() -> None:
    for path in _services():
        name = path.stem.removeprefix("gatepost-").removesuffix("@")
        words = f"{name} --instance %i" if path.stem.endswith("@") else name
        text = path.read_text()
        assert f"\nExecStart=/usr/bin/gatepost run {words}\n" in text
        assert f"\nExecReload=/usr/bin/gatepost reload {words}\n" in text


def test_no_unit_takes_over_a_folder_of_another_user() -> None:
    """systemd gives a StateDirectory to the unit's user, with all that is in it: keyd's is keyd's own folder."""
    for path in _services():
        state = re.findall(r"^StateDirectory=(.*)$", path.read_text(), re.MULTILINE)
        assert state == (["gatepost/keyd"] if "keyd" in path.name else ["gatepost"])
        assert ("RuntimeDirectory=" in path.read_text()) == ("keyd" not in path.name)


@needs("systemd-analyze")
@pytest.mark.parametrize("service", _services(), ids=lambda path: path.stem)
def test_exposure_of_each_unit_is_small(service: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(service)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in done.stdout, done
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units_of_a_role(root: Path) -> None:
    names = [path.name for path in (root / SYSTEM).glob("gatepost-*.*") if path.is_file() and "@" not in path.name]
    names += ["gatepost-gateway@0.service", "gatepost-bastion@25.socket"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{root / SYSTEM}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if "gatepost" in line]
    assert (done.returncode, about_ours) == (0, [])


def test_a_link_brings_the_confinement_to_instances(root: Path) -> None:
    link = root / units.LINK
    assert link.is_symlink()
    assert (link / "10-gatepost.conf").read_text() == (units.source() / units.LINKED / "10-gatepost.conf").read_text()


def test_units_start_the_executable_of_the_machine() -> None:
    files = units.unit_files(EXECUTABLE)
    assert not [name for name, text in files.items() if units.STANDARD in text]
    assert f"ExecStart={EXECUTABLE} run web" in files[SYSTEM / "gatepost-web.service"]
    assert {name.parts[:2] for name in files} == {("etc", "systemd"), ("etc", "sysusers.d"), ("etc", "tmpfiles.d")}


def test_what_a_package_brings_is_not_written_a_second_time(tmp_path: Path) -> None:
    files = units.unit_files(Path(units.STANDARD))
    name = SYSTEM / "gatepost-web.service"
    packaged = tmp_path / "usr/lib/systemd/system/gatepost-web.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text(files[name])
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("of an earlier virtual environment")
    written = units.write(tmp_path, files)
    assert name not in written
    assert not (tmp_path / name).exists()
    assert units.write(tmp_path, files) == []


def test_removing_leaves_what_others_put_there(tmp_path: Path) -> None:
    files = units.unit_files(EXECUTABLE)
    units.write(tmp_path, files)
    own = tmp_path / SYSTEM / "gatepost-.service.d" / "60-mine.conf"
    own.write_text("[Service]\nNice=5\n")
    assert set(units.remove(tmp_path, files)) == set(files)
    assert [path for path in (tmp_path / SYSTEM).rglob("*") if not path.is_dir()] == [own]
