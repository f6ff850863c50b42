"""The Debian package matches its program, and its unit what we promise."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import attrs
import pytest

from fastdns import __version__
from fastdns.config.load import load
from fastdns.config.places import SYSTEM_ACCOUNT, SYSTEM_RUN, SYSTEM_STATE
from fastdns.config.schema import Config

ROOT = Path(__file__).parent.parent.parent
DEBIAN = ROOT / "packaging" / "debian"
UNIT = DEBIAN / "fastdns.service"
DEBIAN_NAMES = {"attrs": "attr"}  # python3-NAME, where PyPI has another one
WORST_EXPOSURE = 20  # tenths, as --threshold wants them


def setting(name: str) -> str:
    """Return the value of a setting that the unit has once."""
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)
    assert len(found) == 1, f"{name}= stands {len(found)} times in the unit"
    return str(found[0])


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"there is no {program} on this machine")


def test_package_has_the_version_of_the_program() -> None:
    newest = (DEBIAN / "changelog").read_text().partition("\n")[0]
    assert newest.startswith(f"fastdns ({__version__}) ")


def test_package_is_built_with_every_library_of_the_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = (DEBIAN / "control").read_text()
    for dependency in project["dependencies"]:
        name, least = dependency.split(">=")
        assert f" python3-{DEBIAN_NAMES.get(name, name)} (>= {least}),\n" in listed


def test_account_and_directories_are_those_that_commands_look_for() -> None:
    assert setting("User") == setting("Group") == SYSTEM_ACCOUNT
    assert Path("/var/lib", setting("StateDirectory")) == SYSTEM_STATE
    assert Path("/run", setting("RuntimeDirectory")) == SYSTEM_RUN
    made = (DEBIAN / "fastdns.sysusers").read_text().split()
    assert (made[0], made[1], made[-1]) == ("u", SYSTEM_ACCOUNT, str(SYSTEM_STATE))


def test_unit_has_no_more_rights_than_it_needs() -> None:
    needs("systemd-analyze")
    limit = f"--threshold={WORST_EXPOSURE}"
    output("systemd-analyze", "security", "--offline=true", "--no-pager", limit, str(UNIT))


def test_apparmor_profile_can_be_read() -> None:
    needs("apparmor_parser")
    profile = DEBIAN / "fastdns.apparmor"
    output("apparmor_parser", "--skip-kernel-load", "--skip-cache", str(profile))


@pytest.mark.parametrize("script", sorted(DEBIAN.glob("fastdns.p*")), ids=lambda path: path.name)
def test_maintainer_script_is_a_shell_script_that_stops_at_errors(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    assert "\n#DEBHELPER#\n" in script.read_text()
    output("sh", "-n", str(script))


def test_every_autopkgtest_that_is_announced_can_be_run() -> None:
    for name in re.findall(r"^Tests: (.*)$", (DEBIAN / "tests" / "control").read_text(), re.M):
        script = DEBIAN / "tests" / name
        assert script.stat().st_mode & 0o111
        output("sh", "-n", str(script))


# ---- the conffile

CONFFILE = ROOT / "packaging" / "fastdns.toml"
# An upgrade must not ask about it: who changes it makes dpkg ask everybody who has changed it, too.
CONFFILE_FOR_EVER = "513e148adf32e6be35d368ca0e25b79f"
FORMER = "# What an earlier version brought.\n#workers = 0\n"


def defaults(monkeypatch: pytest.MonkeyPatch, file: Path) -> Config:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return load(file)


def here(text: str, tmp_path: Path) -> Path:
    """The conffile with conf.d beside it, so that the test's machine has no say in it."""
    (tmp_path / "fastdns.toml").write_text(text.replace("/etc/fastdns", str(tmp_path)))
    return tmp_path / "fastdns.toml"


def test_the_conffile_never_changes() -> None:
    assert hashlib.md5(CONFFILE.read_bytes()).hexdigest() == CONFFILE_FOR_EVER


def test_the_conffile_as_it_is_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = defaults(monkeypatch, here(CONFFILE.read_text(), tmp_path))
    nothing = defaults(monkeypatch, Path("/dev/null"))
    assert attrs.evolve(config, include=()) == nothing


def test_one_commented_line_opens_it_to_the_lan(tmp_path: Path) -> None:
    opened = re.sub(r"(?m)^# (?=dns = )", "", CONFFILE.read_text())
    config = load(here(opened, tmp_path))
    assert [str(one) for one in config.listen.dns] == ["0.0.0.0:53", "[::]:53"]


def test_a_file_in_conf_d_opens_it_to_the_lan(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "lan.toml").write_text('[listen]\ndns = ["0.0.0.0:53"]\n')
    config = load(here(CONFFILE.read_text(), tmp_path))
    assert [str(one) for one in config.listen.dns] == ["0.0.0.0:53"]


def test_every_line_of_the_conffile_that_can_be_taken_in_is_valid(tmp_path: Path) -> None:
    load(here(re.sub(r"(?m)^# (?=\w+ = )", "", CONFFILE.read_text()), tmp_path))


class Upgrade:
    """The maintainer scripts around what dpkg does with /etc/fastdns, in a directory."""

    def __init__(self, place: Path) -> None:
        self.etc = place / "etc"
        self.file = self.etc / "fastdns.toml"
        self.waiting = self.etc / "conf.d" / "00-before-upgrade.toml"
        self.etc.mkdir()
        self.programs = place / "bin"
        self.programs.mkdir()
        self.known = FORMER

    def script(self, name: str, *arguments: str) -> None:
        md5 = hashlib.md5(self.known.encode()).hexdigest()
        query = self.programs / "dpkg-query"
        query.write_text(f"#!/bin/sh\necho\necho ' {self.file} {md5}'\necho ' /etc/x {'0' * 32}'\n")
        query.chmod(0o755)
        text = (DEBIAN / f"fastdns.{name}").read_text()
        head = text.partition('if [ "$1" = ')[0] if name != "preinst" else text
        done = subprocess.run(
            ["sh", "-c", head.replace("/etc/fastdns", str(self.etc)), name, *arguments],
            env=os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def asks(self) -> bool:
        """Whether dpkg would ask: it brings another file than before, and this is neither."""
        ours = (
            here(CONFFILE.read_text(), self.etc.parent)
            .read_text()
            .replace(str(self.etc.parent), str(self.etc))
        )
        now = self.file.read_text()
        return ours != self.known and now not in (ours, self.known)


@pytest.fixture
def upgrade(tmp_path: Path) -> Upgrade:
    return Upgrade(tmp_path)


def test_changed_file_of_a_former_version_stays_without_a_question(upgrade: Upgrade) -> None:
    mine = FORMER + "workers = 3\n"
    upgrade.file.write_text(mine)
    assert upgrade.asks()
    upgrade.script("preinst", "upgrade", "0.1.0")
    assert not upgrade.asks()
    assert upgrade.waiting.read_text() == mine  # in effect by `include`
    upgrade.script("preinst", "upgrade", "0.1.0")  # begun again
    upgrade.script("postinst", "configure", "0.1.0")
    assert upgrade.file.read_text() == mine
    assert not upgrade.waiting.exists()


def test_unchanged_file_of_a_former_version_is_left_to_dpkg(upgrade: Upgrade) -> None:
    upgrade.file.write_text(FORMER)
    upgrade.script("preinst", "upgrade", "0.1.0")
    assert upgrade.file.read_text() == FORMER
    assert not upgrade.waiting.exists()


def test_changed_file_of_this_version_is_not_touched(upgrade: Upgrade) -> None:
    upgrade.known = CONFFILE.read_text().replace("/etc/fastdns", str(upgrade.etc))
    upgrade.file.write_text("workers = 3\n")
    upgrade.script("preinst", "upgrade", "0.2.0")
    assert upgrade.file.read_text() == "workers = 3\n"
    assert not upgrade.asks()


def test_file_of_a_former_version_that_somebody_removed_is_no_question_either(
    upgrade: Upgrade,
) -> None:
    upgrade.script("preinst", "upgrade", "0.1.0")
    assert not upgrade.asks()
    upgrade.known = ""


@pytest.mark.parametrize("script", ["postinst", "postrm"])
def test_upgrade_that_is_given_up_brings_the_file_back(upgrade: Upgrade, script: str) -> None:
    upgrade.file.write_text("workers = 3\n")
    upgrade.script("preinst", "upgrade", "0.1.0")
    upgrade.script(script, "abort-upgrade", "0.2.0")
    assert upgrade.file.read_text() == "workers = 3\n"


def test_preinst_brings_the_conffile_itself() -> None:
    assert f"\n{CONFFILE.read_text()}END\n" in (DEBIAN / "fastdns.preinst").read_text()
