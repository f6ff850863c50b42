"""`fastdns doctor` and the encrypted services."""

from __future__ import annotations

import re
import sys

from fastdns._certificate import make_self_signed

from ..support.box import Box
from ..support.client import eventually

LISTEN = """
state_dir = "/var/lib/fastdns"
run_dir = "/run/fastdns"

[listen]
dns = ["127.0.0.1:53"]
tls = ["127.0.0.1:853"]
https = ["127.0.0.1:443"]
certificate = "/etc/fastdns/chain.pem"
key = "/etc/fastdns/key.pem"
name = "dns.net.demo"
"""


def give(box: Box, *names: str) -> None:
    """Write another certificate."""
    chain, key = make_self_signed(names, 90)
    box.write("fastdns/key.pem", key.decode())
    box.write("fastdns/chain.pem", chain.decode())


def told(box: Box, *, status: int) -> list[str]:
    return [f"{one['state']}: {one['text']}" for one in box.findings("encryption", status=status)]


def test_services_that_answer_are_right_and_a_certificate_for_others_is_wrong(
    box: Box,
) -> None:
    box.start_upstream()
    give(box, "dns.net.demo")
    box.write("fastdns/fastdns.toml", LISTEN)
    box.start_fastdns()
    found = told(box, status=0)
    for where in ("DNS over TLS on 127.0.0.1:853", "DNS over HTTPS on 127.0.0.1:443"):
        assert any(re.fullmatch(rf"ok: fastdns \(pid \d+\) answers {where}", one) for one in found)
        assert f"ok: {where}: only this machine reaches it" in found
    daemon = " ".join(one["text"] for one in box.findings("daemon", status=0))
    assert "answers on 127.0.0.1:53, over UDP and TCP" in daemon
    assert "443" not in daemon  # is not asked by plain DNS

    # The user that the daemon has become cannot read the new files: root's reload hands them over.
    give(box, "other.demo")
    wrong = 'wrong: listen.name is "dns.net.demo", and the certificate is for other.demo'
    found = told(box, status=1)
    assert wrong in found
    assert sum(one.endswith("with another certificate than is in the file") for one in found) == 2
    done = box.run(sys.executable, "-m", "fastdns", "reload")
    assert done.returncode == 0, done.stderr
    found = eventually(
        lambda: told(box, status=1),
        lambda found: not any("another certificate" in one for one in found),
    )
    assert wrong in found
