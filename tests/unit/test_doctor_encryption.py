"""Findings about listen.tls and listen.https: do they answer, who may ask, which certificate."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from fastdns._certificate import make_self_signed, read_certificate
from fastdns.config.filters import View
from fastdns.config.listen import Listen
from fastdns.config.schema import Access, Config
from fastdns.config.values import Address, Identity
from fastdns.doctor import certificate, encryption, units
from fastdns.doctor.commands import USUAL
from fastdns.doctor.findings import Finding
from fastdns.doctor.running import Daemon
from fastdns.listen.certificate_files import RENEW, day_of
from fastdns.listen.certificate_in_use import InUse, write_in_use
from fastdns.listen.view_services import out_of_reach

DAY = 86400
RUNS = Daemon(7)
Look = Callable[..., list[Finding]]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., None]:
    """Write the files of a certificate."""

    def write(*names: str, days: int = 90, now: float | None = None) -> None:
        chain, key = make_self_signed(names, days, now=now)
        (tmp_path / "chain.pem").write_bytes(chain)
        (tmp_path / "key.pem").write_bytes(key)

    write("dns.demo", "192.0.2.1")
    return write


@pytest.fixture
def port(tmp_path: Path, make: Callable[..., None]) -> Iterator[int]:
    """The port of a server on 127.0.0.1 that has this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def look(tmp_path: Path, make: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Look:
    """What is said of such a table [listen]."""
    own = [ip_address(one) for one in ("192.168.1.2", "203.0.113.7", "2001:db8::7")]
    monkeypatch.setattr(encryption, "own_addresses", lambda: own)

    def found(access: Access | None = None, running: Any = None, **listen: Any) -> list[Finding]:
        files = {"certificate": f"{tmp_path}/chain.pem", "key": f"{tmp_path}/key.pem"}
        config = Config(
            state_dir=tmp_path,
            run_dir=tmp_path,
            listen=Listen(**{**files, "name": "dns.demo", **listen}),
            access=access or Access(),
        )
        return list(encryption.look(config, running, USUAL))

    return found


def texts(findings: list[Finding], *states: str) -> list[str]:
    return [one.text for one in findings if not states or one.state in states]


def test_without_encrypted_addresses_there_is_nothing_to_say(look: Look) -> None:
    assert look() == []


def test_service_that_answers_with_the_certificate_of_the_file_is_right(
    look: Look, port: int
) -> None:
    found = look(running=RUNS, tls=(Address("127.0.0.1", port),))
    assert f"fastdns (pid 7) answers DNS over TLS on 127.0.0.1:{port}" in texts(found, "ok")
    assert texts(found, "wrong") == []


def test_service_with_another_certificate_than_the_file_is_told(
    look: Look, port: int, make: Callable[..., None]
) -> None:
    make("dns.demo")
    found = look(running=RUNS, https=(Address("127.0.0.1", port),))
    (told,) = (one for one in found if "another certificate" in one.text)
    assert (told.state, USUAL.as_root("reload") in told.do) == ("hint", True)


def test_reason_why_the_file_is_not_used_is_told_once(
    look: Look, port: int, make: Callable[..., None]
) -> None:
    make("dns.demo")
    told = {"certificate": {"names": [], "not_after": 1, "problems": ["listen.key: no"]}}
    here = (Address("127.0.0.1", port),)
    found = texts(look(running=Daemon(7, told=told), tls=here, https=here), "hint")
    assert sum("another certificate" in one for one in found) == 2
    assert sum(one.endswith("in the file: listen.key: no") for one in found) == 1


def test_service_that_does_not_answer_or_speaks_no_tls_is_wrong(look: Look) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    (told,) = texts(look(running=RUNS, tls=(Address("127.0.0.1", free),)), "wrong")
    assert f"does not answer DNS over TLS on 127.0.0.1:{free}: Connection refused" in told


def test_addresses_at_which_others_reach_it_are_told_with_who_may_ask(look: Look) -> None:
    everywhere = Address("0.0.0.0", 853), Address("::", 853), Address("192.0.2.1", 8853)
    access = Access(deny=(ip_network("192.168.9.0/24"),))
    (told,) = (
        one for one in texts(look(access, tls=everywhere), "ok") if one.startswith("DNS over TLS")
    )
    assert "port 853 of 192.168.1.2, 203.0.113.7, 2001:db8::7; port 8853 of 192.0.2.1" in told
    assert told.endswith("may ask: loopback, lan, but not 192.168.9.0/24 (access.allow)")
    here = texts(look(https=(Address("127.0.0.1", 443),)), "ok")
    assert "DNS over HTTPS on 127.0.0.1:443: only this machine reaches it" in here


@pytest.mark.parametrize(
    ("name", "began", "state", "problem"),
    [
        ("other.demo", 0, "wrong", 'listen.name is "other.demo", and the certificate is for'),
        ("dns.demo", -91 * DAY, "wrong", "the certificate ended on "),
        ("dns.demo", 2 * DAY, "wrong", "the certificate begins on "),
        ("dns.demo", -80 * DAY, "hint", "the certificate ends on "),
        ("", 0, "hint", "listen.name is not set"),
        ("dns.demo", 0, "hint", "the certificate is self-signed"),
    ],
)
def test_certificate_that_clients_refuse_is_told(  # noqa: PLR0917
    look: Look, make: Callable[..., None], name: str, began: int, state: str, problem: str
) -> None:
    make("dns.demo", now=time.time() + began)
    found = texts(look(name=name, tls=(Address("127.0.0.1", 853),)), state)
    assert [one for one in found if one.startswith(problem)]


def test_files_that_are_no_pair_are_wrong(look: Look, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nothing")
    found = look(tls=(Address("127.0.0.1", 853),))
    (told,) = (one for one in found if one.state == "wrong")
    assert f"{tmp_path}/key.pem" in told.text
    assert told.do == f"correct the file, then {USUAL.line('reload')}"


def test_files_that_are_no_pair_leave_the_former_one_in_use(look: Look, tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "key.pem").write_text("nothing")
    write_in_use(tmp_path / "certificate", InUse(("dns.demo",), int(now), int(now + 9 * DAY)))
    (told,) = texts(look(running=RUNS, tls=(Address("127.0.0.1", 0),)), "wrong")
    assert f"the former one is served still, until {day_of(now + 9 * DAY)}" in told


BEHIND_PROXY = {"proxies": ("loopback",), "certificate": "", "key": ""}


def test_plain_http_behind_a_proxy_is_asked_without_a_certificate(look: Look) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_query = self.path.startswith("/dns-query?dns=AAABAAAB")
            self.send_response(200 if is_query else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        at = Address("127.0.0.1", server.server_port)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = look(running=RUNS, https=(at,), **BEHIND_PROXY)
        thread.join()
    assert texts(found) == [
        f"fastdns (pid 7) answers plain HTTP on {at}, for its proxies",
        f"DNS over HTTPS on {at}: only this machine reaches it",
    ]
    (told,) = texts(look(running=RUNS, https=(at,), **BEHIND_PROXY), "wrong")
    assert "does not answer plain HTTP" in told


def test_plain_http_that_only_other_machines_may_ask_is_not_tried(look: Look) -> None:
    at = Address("127.0.0.1", 8053)
    proxies = {**BEHIND_PROXY, "proxies": (ip_network("192.0.2.7"),)}
    assert any("was not tried" in one for one in texts(look(running=RUNS, https=(at,), **proxies)))


def test_former_certificate_that_is_served_in_place_of_one_that_has_ended_is_told(
    look: Look, make: Callable[..., None], tmp_path: Path
) -> None:
    now = time.time()
    make("dns.demo", now=now - 91 * DAY)
    write_in_use(tmp_path / "certificate", InUse(("dns.demo",), int(now), int(now + 9 * DAY)))
    found = look(running=RUNS, tls=(Address("127.0.0.1", 0),))
    (told,) = (one for one in found if "in the file ended on" in one.text)
    assert (told.state, told.do) == ("hint", RENEW)
    assert f"the former one is served still, until {day_of(now + 9 * DAY)}" in told.text
    assert not any("clients refuse it:" in one for one in texts(found, "wrong"))


@pytest.mark.parametrize(
    ("name", "began", "do"),
    [
        ("other.demo", 0, 'change listen.name, or get a certificate for "other.demo"'),
        ("dns.demo", -91 * DAY, "renew it"),
        ("dns.demo", 2 * DAY, "set the clock"),
    ],
)
def test_remedy_is_that_of_the_problem(
    look: Look, make: Callable[..., None], name: str, began: int, do: str
) -> None:
    make("dns.demo", now=time.time() + began)
    (told,) = (
        one for one in look(name=name, tls=(Address("127.0.0.1", 853),)) if one.state == "wrong"
    )
    assert told.do.startswith(do)


def test_reason_why_the_daemon_has_no_certificate_is_told_once(look: Look, port: int) -> None:
    told = {"certificate": {"names": [], "not_after": None, "problems": ["listen.key: no"]}}
    found = look(running=Daemon(7, told=told), tls=(Address("127.0.0.1", port),))
    assert texts(found, "wrong") == ["fastdns (pid 7) has no certificate: listen.key: no"]


def test_key_that_the_daemon_cannot_read_after_a_restart_is_told(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate.os, "geteuid", lambda: 0)
    monkeypatch.setattr(units, "user_of", lambda _: "fastdns")
    monkeypatch.setattr(certificate, "_ids", lambda _: (65534, 65534, []))
    monkeypatch.setattr(certificate, "can_read", lambda file, *_: file.name != "key.pem")
    running = Daemon(7, unit="fastdns.service")
    found = look(running=running, tls=(Address("127.0.0.1", 0),))
    (told,) = (one for one in found if "cannot read" in one.text)
    assert f"cannot read {tmp_path}/key.pem itself: only a reload by root" in told.text
    assert "install -m 0640 -g fastdns" in told.do


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_rights_are_those_of_the_daemons_user() -> None:
    file = Path(tempfile.mkdtemp(dir="/tmp")) / "key.pem"
    try:
        file.parent.chmod(0o755)
        file.touch(0o640)
        assert not certificate.can_read(file, 65534, 65534, [])
        os.chown(file, 0, 4711)
        assert certificate.can_read(file, 65534, 65534, [4711])
    finally:
        shutil.rmtree(file.parent)


def test_certificate_without_its_issuer_is_not_trusted_here(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(
            ["openssl", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60
        )

    new = ("req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    openssl(*new, "-x509", "-subj", "/CN=Authority", "-keyout", "ca.key", "-out", "ca.pem")
    name = ("-subj", "/CN=dns.demo", "-addext", "subjectAltName=DNS:dns.demo")
    openssl(*new, *name, "-keyout", "key.pem", "-out", "request")
    openssl(
        *("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "90"),
        *("-copy_extensions", "copy", "-out", "chain.pem"),
    )
    here = (Address("127.0.0.1", 853),)
    store = tmp_path / "store.pem"
    store.write_bytes(make_self_signed(["another.demo"], 9)[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    (told,) = (one for one in look(tls=here) if "does not trust" in one.text)
    assert (told.state, "fullchain.pem" in told.do) == ("hint", True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert any(one.startswith("the certificate is for") for one in texts(look(tls=here), "ok"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))  # a machine without authorities
    assert not [one for one in texts(look(tls=here)) if "does not trust" in one]


def test_clients_of_views_that_no_device_can_be_are_told(make: Callable[..., None]) -> None:
    clients = (Identity("tls", "kids.demo"), Identity("tls", "dns.demo"), Identity("doh", "kids"))
    view = (View(name="kids", clients=clients),)

    def told(**listen: Any) -> list[str]:
        found = read_certificate(make_self_signed(["dns.demo"], 9)[0])
        config = Config(state_dir=Path("/"), run_dir=Path("/"), view=view, listen=Listen(**listen))
        return [text.partition("no device can be ")[2] for text, _ in out_of_reach(config, found)]

    at = (Address("127.0.0.1", 853),)
    pair = {"certificate": "/chain.pem", "key": "/key.pem"}
    assert told() == [
        '"tls:kids.demo": listen.tls and listen.https are empty',
        '"tls:dns.demo": listen.tls and listen.https are empty',
        '"doh:kids": listen.https is empty',
    ]
    assert told(tls=at, **pair) == [
        '"tls:kids.demo": the certificate is for dns.demo',
        '"doh:kids": listen.https is empty',
    ]
    assert told(https=at, **pair) == ['"tls:kids.demo": the certificate is for dns.demo']
    assert len(told(https=at, proxies=("loopback",))) == 2
