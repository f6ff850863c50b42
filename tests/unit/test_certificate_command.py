"""`fastdns certificate`: which certificate there is, and one to try with."""

from __future__ import annotations

import base64
import json
import os
import pwd
import ssl
import stat
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns._certificate import make_self_signed
from fastdns.cli import main
from fastdns.cli.status import _certificate as spell_certificate

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["fastdns", "certificate", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return run_command


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Path:
    """A configuration with the lines that the command has printed."""
    status, out, err = run("--self-signed", "Dns.demo", "*.dns.demo", "192.0.2.1", "--days", "30")
    assert (status, err) == (0, "")
    file = tmp_path / "fastdns.toml"
    file.write_text(out)
    return file


def test_made_certificate_is_shown_by_the_lines_that_were_printed(run: Run, made: Path) -> None:
    assert tomllib.loads(made.read_text())["listen"]["name"] == "dns.demo"
    status, out, err = run("-c", made)
    assert status == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["names"] == "dns.demo, *.dns.demo, 192.0.2.1"
    assert lines["valid"].endswith((", 30 days left", ", 29 days left"))
    assert lines["files"] == f"{made.parent}/fullchain.pem, {made.parent}/privkey.pem"
    (problem,) = err.splitlines()
    assert "is self-signed" in problem


def test_libssl_serves_with_it(made: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.parent / "fullchain.pem", made.parent / "privkey.pem")


def test_key_that_root_makes_is_readable_for_the_daemons_group_alone(made: Path) -> None:
    found = os.stat(made.parent / "privkey.pem")
    try:
        group = pwd.getpwnam("fastdns").pw_gid if os.geteuid() == 0 else None
    except KeyError:
        group = None
    if group is None:
        assert stat.S_IMODE(found.st_mode) == 0o600
    else:
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o640, group)


def test_json_has_the_raw_values(run: Run, made: Path) -> None:
    status, out, _ = run("-c", made, "--json")
    told = json.loads(out)
    assert status == 0
    assert told["not_after"] - told["not_before"] >= 30 * 86400
    assert (told["self_signed"], told["days_left"] in (29, 30)) == (True, True)


def test_name_that_the_certificate_is_not_for_is_told(run: Run, made: Path) -> None:
    made.write_text(made.read_text().replace('name = "dns.demo"', 'name = "other.demo"'))
    _, _, err = run("-c", made)
    told = 'listen.name is "other.demo", and the certificate is for dns.demo, *.dns.demo, 192.0.2.1'
    assert f"warning: {told}" in err.splitlines()


def test_certificate_that_begins_later_has_no_days_left(run: Run, made: Path) -> None:
    now = time.time()
    chain, key = make_self_signed(["dns.demo"], 30, now=now + 5 * 86400)
    (made.parent / "fullchain.pem").write_bytes(chain)
    (made.parent / "privkey.pem").write_bytes(key)
    status, out, _ = run("-c", made)
    assert (status, ", not valid yet" in out) == (1, True)
    told = {"names": ["dns.demo"], "not_before": now + 5 * 86400, "not_after": now + 35 * 86400}
    assert spell_certificate(told, now) == "dns.demo, not valid yet"


def test_existing_files_are_replaced_only_by_force(run: Run, made: Path) -> None:
    former = (made.parent / "privkey.pem").read_bytes()
    status, _, err = run("--self-signed", "dns.demo")
    assert (status, "exists (run with --force" in err) == (1, True)
    assert (made.parent / "privkey.pem").read_bytes() == former
    assert run("--self-signed", "dns.demo", "--force")[0] == 0
    assert (made.parent / "privkey.pem").read_bytes() != former
    assert run("-c", made)[0] == 0


@pytest.mark.parametrize("name", ["fullchain.pem", "privkey.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_files_that_are_no_pair_are_named_in_a_line(
    run: Run, made: Path, name: str, content: bytes | None
) -> None:
    file = made.parent / name
    file.unlink() if content is None else file.write_bytes(content)
    status, out, err = run("-c", made)
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("fastdns: listen.")
    assert str(file) in line


@pytest.mark.parametrize(
    ("name", "command"),
    [("fullchain.pem", "openssl x509"), ("privkey.pem", "openssl pkey")],
)
def test_command_that_makes_pem_of_der_is_told(
    run: Run, made: Path, name: str, command: str
) -> None:
    file = made.parent / name
    pem = [line for line in file.read_text().splitlines() if not line.startswith("-----")]
    file.write_bytes(base64.b64decode("".join(pem)))
    err = run("-c", made)[2]
    assert f"(it is DER; try {command} -inform der -in {file} -out {file}.pem)" in err


def test_check_warns_of_files_that_are_no_pair(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fastdns", "check", "-c", str(made)])
    assert main() == 0
    assert "warning: the certificate is self-signed" in capsys.readouterr().err
    (made.parent / "privkey.pem").unlink()
    assert main() == 0
    file = made.parent / "privkey.pem"
    assert f"warning: listen.key: {file} cannot be read" in capsys.readouterr().err


def test_check_warns_of_a_key_that_every_user_may_read(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = made.parent / "privkey.pem"
    monkeypatch.setattr(sys, "argv", ["fastdns", "check", "-c", str(made)])
    for mode, is_open in ((0o644, True), (0o640, False)):
        file.chmod(mode)
        assert main() == 0
        told = f"warning: listen.key: every user may read {file}, mode 0644 (chmod o= {file})"
        assert (told in capsys.readouterr().err.splitlines()) is is_open


def test_check_warns_of_clients_of_views_that_no_device_can_be(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fastdns", "check", "-c", str(made)])
    view = '[[view]]\nname = "kids"\nclients = ["tls:kids.other.demo", "tls:kids.dns.demo"]\n'
    made.write_text(made.read_text() + view)
    assert main() == 0
    (told,) = (one for one in capsys.readouterr().err.splitlines() if "view[0].clients" in one)
    assert 'no device can be "tls:kids.other.demo": the certificate is for dns.demo' in told
    made.write_text(view)
    assert main() == 0
    assert "listen.tls and listen.https are empty" in capsys.readouterr().err


def test_without_a_certificate_the_remedy_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fastdns.toml").write_text("")
    status, out, err = run("-c", tmp_path / "fastdns.toml")
    assert (status, out) == (1, "")
    assert "fastdns certificate --self-signed NAME" in err


def test_certificate_that_a_proxy_has_is_told(run: Run, tmp_path: Path) -> None:
    listen = '[listen]\nhttps = ["127.0.0.1:8053"]\nproxies = ["loopback"]\n'
    (tmp_path / "fastdns.toml").write_text(listen)
    status, out, err = run("-c", tmp_path / "fastdns.toml")
    assert (status, out) == (1, "")
    assert "clients see the certificate of that proxy" in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--self-signed"], "for which NAME?"),
        (["--self-signed", "x..demo"], "x..demo"),
        (["dns.demo"], "go with --self-signed"),
        (["--days", "9"], "go with --self-signed"),
        (["--self-signed", "dns.demo", "--json"], "--json does not go with"),
        (["--self-signed", "dns.demo", "--days", "0"], "--days"),
    ],
)
def test_bad_use_is_told_in_a_line(run: Run, arguments: list[str], problem: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert problem in err


def test_directory_that_does_not_exist_is_made(run: Run, tmp_path: Path) -> None:
    assert run("--self-signed", "dns.demo", "--out", tmp_path / "new" / "pair")[0] == 0
    assert (tmp_path / "new" / "pair" / "privkey.pem").exists()


def test_directory_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "no").touch()
    status, _, err = run("--self-signed", "dns.demo", "--out", tmp_path / "no" / "pair")
    assert (status, f"{tmp_path}/no/pair" in err) == (1, True)
