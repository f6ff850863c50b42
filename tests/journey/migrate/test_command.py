"""`fastdns import-config` as its users run it."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from ..support.commands import FASTDNS, fastdns
from .conftest import SAMPLES, converted, copy_of

UNBOUND = """\
server:
  port: 5335
  use-caps-for-id: yes
forward-zone:
  name: .
  forward-addr: 9.9.9.9
"""
DNSMASQ = "server=9.9.9.9\nlocal-service\nno-resolv\nlog-queries\n"


@pytest.mark.parametrize(
    "sample",
    [str(file.relative_to(SAMPLES)) for file in sorted(SAMPLES.glob("*/*.conf"))],
)
def test_result_of_each_sample_is_valid(tmp_path: Path, sample: str) -> None:
    directory, name = sample.split("/")
    file = copy_of(directory, tmp_path, lambda text: text) / name
    converted(file)

    done = fastdns("check", "-c", str(file.with_suffix(".toml")))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("text", "kind"), [(UNBOUND, "unbound"), (DNSMASQ, "dnsmasq")])
def test_program_is_told_by_the_content(tmp_path: Path, text: str, kind: str) -> None:
    file = tmp_path / "settings"
    file.write_text(text)

    done = fastdns("import-config", str(file))

    assert done.returncode == 0
    assert tomllib.loads(done.stdout)["upstream"]["servers"] == ["9.9.9.9:53"]
    assert f"converted from 1 file of {kind}; 1 line is left out\n" in done.stderr


def test_each_value_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "unbound.conf"
    file.write_text(UNBOUND)

    done = fastdns("import-config", str(file))

    assert 'servers = ["9.9.9.9:53"]  # unbound.conf:6' in done.stdout
    assert f"{file}:3: use-caps-for-id is left out: " in done.stderr


def test_several_files_are_one_configuration(tmp_path: Path) -> None:
    first, second = tmp_path / "a.conf", tmp_path / "b.conf"
    first.write_text(DNSMASQ)
    second.write_text("server=9.9.9.10\n")

    done = fastdns("import-config", str(first), str(second))

    assert tomllib.loads(done.stdout)["upstream"]["servers"] == ["9.9.9.9:53", "9.9.9.10:53"]


def test_existing_file_is_only_replaced_when_forced(tmp_path: Path) -> None:
    file, result = tmp_path / "unbound.conf", tmp_path / "result.toml"
    file.write_text(UNBOUND)
    result.write_text("mine")

    refused = fastdns("import-config", str(file), "-o", str(result))
    kept = result.read_text()
    forced = fastdns("import-config", str(file), "-f", "-o", str(result))

    assert refused.returncode == 1
    assert refused.stderr == f"fastdns: {result} exists (run with --force to replace it)\n"
    assert kept == "mine"
    assert forced.returncode == 0
    assert forced.stdout == ""
    assert forced.stderr.endswith(f"next: fastdns check -c {result}\n")
    assert "9.9.9.9" in result.read_text()
    assert result.stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(tmp_path)) == ["result.toml", "unbound.conf"]


def test_standard_input_needs_the_name_of_the_program() -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*FASTDNS, "import-config", "/dev/stdin", *options],
            input=DNSMASQ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert run("--from", "dnsmasq").returncode == 0
    assert run().returncode == 2
    assert "--from dnsmasq" in run().stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is neither a configuration of unbound nor of dnsmasq"),
        ("key: value\nother: true\n", "is neither a configuration of unbound nor of dnsmasq"),
        (
            "# A program\n\nIt answers.\nRead this first:\n\n    server=9.9.9.9\n    version\n\n"
            "Bye.\nThat is all.\n",
            "is neither a configuration of unbound nor of dnsmasq",
        ),
        ("[cache]\nmemory = '1MiB'\n", "is neither a configuration of unbound nor of dnsmasq"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_file_is_bad_use(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "settings"
    if content is not None:
        file.write_text(content)

    done = fastdns("import-config", str(file))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{file}: {told}")


def test_file_with_comments_alone_is_known_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "dnsmasq.conf"
    file.write_text("# Configuration file for dnsmasq.\n#port=5353\n")

    done = fastdns("import-config", str(file))

    assert done.returncode == 0
    assert "of dnsmasq" in done.stderr


def test_result_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "unbound.conf"
    file.write_text(UNBOUND)

    done = fastdns("import-config", str(file), "-o", str(tmp_path / "no" / "such.toml"))

    assert done.returncode == 1
    assert done.stderr.startswith("fastdns: cannot write ")


def test_what_no_key_can_say_together_is_told(tmp_path: Path) -> None:
    file = tmp_path / "unbound.conf"
    file.write_text("server:\ncache-min-ttl: 600\ncache-max-ttl: 60\n")

    done = fastdns("import-config", str(file))

    assert "correct this in the result: cache.max_ttl: is 60s; must be at least" in done.stderr
