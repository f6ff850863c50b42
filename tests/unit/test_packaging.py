"""The Debian package agrees with the program that it holds, and its unit with what we promise."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from fastdns import __version__
from fastdns.config.places import SYSTEM_ACCOUNT, SYSTEM_RUN, SYSTEM_STATE

ROOT = Path(__file__).parent.parent.parent
DEBIAN = ROOT / "packaging" / "debian"
UNIT = DEBIAN / "fastdns.service"
DEBIAN_NAMES = {"attrs": "attr", "cattrs": "cattr"}  # python3-NAME, where PyPI has another one
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
