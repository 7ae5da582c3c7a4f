import json
import os
import pkgutil
import shutil
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest

import cpq
import mail
import ops
import tunnel
from core.database import Schema
from core.errors import EX_CONFIG, EX_NOPERM, ConfigError, GatepostError
from core.format import NAME, FormatRefused, Layout
from core.journal.segment import LAYOUT
from daemons import formats
from daemons.initial import make
from daemons.machine import Machine, machine_for
from daemons.owner import acting_as
from tests.support.need import as_root
from tests.support.release import files_below


def schemas() -> list[Schema]:
    """Find what every store module of the suite expects of its database."""
    found = {}
    for package in (mail, cpq, tunnel, ops):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] in ("store", "schema"):
                for one in vars(import_module(module.name)).values():
                    if isinstance(one, Schema):
                        found[one.name] = one
    return list(found.values())


def test_the_list_holds_the_layout_of_every_store() -> None:
    databases = {one.name: Layout(one.version, one.compatible) for one in schemas()}
    assert len(databases) >= 7
    assert {"machine": Layout(1), "journal": LAYOUT} | databases == formats.LAYOUTS


@pytest.mark.parametrize("store", formats.LAYOUTS)
def test_a_machine_with_a_store_that_is_too_new_is_refused_and_left_as_it_is(
    store: str, tmp_path: Path, made: Path
) -> None:
    shutil.copytree(made, tmp_path / "m")
    config = tmp_path / "m" / "gatepost.toml"
    machine_for("gateway", config, ["esa"])
    path = config.parent / "state" / NAME
    document = json.loads(path.read_bytes())
    document["release"] = "99.0"
    document["layouts"][store] = [99, 98]
    path.write_text(json.dumps(document))
    before = files_below(config.parent)
    with pytest.raises(FormatRefused, match=rf"release 99.0 .*: {store} 99 \(here ") as refused:
        machine_for("gateway", config, ["esa"])
    assert refused.value.status == EX_CONFIG
    assert files_below(config.parent) == before


def test_unknown_keys_after_a_newer_release_say_which_release_knew_them(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made, tmp_path / "m")
    config = tmp_path / "m" / "gatepost.toml"
    machine_for("gateway", config, ["esa"])
    with config.open("a") as file:
        file.write("\n[brand_new]\nkey = 1\n")
    with pytest.raises(ConfigError) as ours:
        Machine.open(config)
    assert "release" not in ours.value.text
    path = config.parent / "state" / NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"release": "99.0"}))
    with pytest.raises(ConfigError, match=r"brand_new.*\n.*release 99.0 was started here last and this is") as refused:
        Machine.open(config)
    assert refused.value.status == EX_CONFIG


def test_a_user_who_may_not_write_the_record_uses_the_machine_all_the_same(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "m")

    def closed(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(formats, "stamp", closed)
    monkeypatch.setattr(formats, "read_written", closed)
    monkeypatch.setattr("os.geteuid", lambda: 4_000_111)  # not the owner, who has to read it
    monkeypatch.setattr(formats, "acting_as", lambda _: nullcontext())
    assert machine_for("gateway", tmp_path / "m" / "gatepost.toml", ["esa"]).role == "esa"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machine") / "m"
    make("esa", folder, hostname="esa.example.test")
    return folder


@as_root("leaves a file that others may not read")
def test_a_record_that_root_left_unreadable_hides_no_newer_store_from_the_machines_user(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o011)
    (tmp_path / "m" / "state").mkdir(parents=True)
    os.chown(tmp_path / "m", 4_000_111, 4_000_111)
    (tmp_path / "m" / "state" / NAME).touch(mode=0o600)
    with acting_as(4_000_111), pytest.raises(GatepostError, match="gives it back to its user") as refused:
        formats.refuse_newer(tmp_path / "m")
    assert refused.value.status == EX_NOPERM
    with acting_as(4_000_112):
        formats.refuse_newer(tmp_path / "m")


@as_root("gives a folder to another user")
def test_root_writes_the_record_as_whose_machine_it_is_and_follows_no_link(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o011)
    (tmp_path / "m" / "state").mkdir(parents=True)
    (tmp_path / "etc").mkdir(mode=0o755)
    for path in (tmp_path / "m", tmp_path / "m" / "state"):
        os.chown(path, 4_000_111, 4_000_111)
    formats.begin_use(tmp_path / "m")
    assert (tmp_path / "m" / "state" / NAME).stat().st_uid == 4_000_111
    shutil.rmtree(tmp_path / "m" / "state")
    (tmp_path / "m" / "state").symlink_to(tmp_path / "etc")
    formats.begin_use(tmp_path / "m")
    assert list((tmp_path / "etc").iterdir()) == []
