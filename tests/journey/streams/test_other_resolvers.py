"""Other resolvers and forwarders that ask fastdns over TLS and HTTPS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.encrypted import NAME, CertificateFiles, Service
from ..support.false_upstream import FalseUpstream
from ..support.ports import free_port
from ..support.unbound import PATH, Unbound

SETTINGS = """\
  tls-upstream: yes
  tls-cert-bundle: {pem}
"""
DNSDIST = """\
setLocal("127.0.0.1:{port}")
newServer({{address="127.0.0.1:{upstream}", tls="openssl", subjectName="{name}", caStore="{pem}",
  validateCertificates=true, checkInterval=1, mustNotFail=false, {more}}})
"""


def test_unbound_forwards_to_it_over_tls(
    dot: Service,
    pair: CertificateFiles,
    served: Fastdns,
    origin: FalseUpstream,
    tmp_path: Path,
) -> None:
    settings = SETTINGS.format(pem=pair.certificate)
    before = served.counter("queries_tls_total")
    with Unbound(tmp_path / "unbound", f"{dot.host}:{dot.port}#{NAME}", settings) as unbound:
        for _ in range(3):
            assert data(ask(unbound, origin.new_name())) == ["192.0.2.1"]
    assert served.counter("queries_tls_total") >= before + 3


@pytest.mark.parametrize("service", ["dot", "doh"])
def test_dnsdist_forwards_to_it(
    request: pytest.FixtureRequest,
    pair: CertificateFiles,
    origin: FalseUpstream,
    tmp_path: Path,
    service: str,
) -> None:
    place = request.getfixturevalue(service)
    program = shutil.which("dnsdist", path=PATH)
    if program is None:
        pytest.skip("dnsdist is not installed")
    port = free_port()
    more = 'dohPath="/dns-query"' if service == "doh" else ""
    config = tmp_path / "dnsdist.conf"
    config.write_text(
        DNSDIST.format(port=port, upstream=place.port, name=NAME, pem=pair.certificate, more=more)
    )
    process = subprocess.Popen(
        [program, "--supervised", "--disable-syslog", "-C", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        peer = Service("127.0.0.1", port)
        eventually(lambda: answers(peer, origin), bool)
        for _ in range(3):
            assert data(ask(peer, origin.new_name())) == ["192.0.2.1"]
    finally:
        process.terminate()
        process.wait(10)


def answers(peer: Service, origin: FalseUpstream) -> bool:
    try:
        return data(ask(peer, origin.new_name(), timeout=0.5)) == ["192.0.2.1"]
    except (OSError, TimeoutError, AssertionError):
        return False
