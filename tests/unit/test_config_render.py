"""A configuration as TOML: `load` reads what `check` prints."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fastdns.config.load import load
from fastdns.config.render import render

EVERY_KEY = """
workers = 2
state_dir = "/srv/d\\"n\\\\s\\t\\u007f/ünï"
run_dir = "/run/dns"
log_level = "debug"
[listen]
dns = ["0.0.0.0:0", "[::]:5353", "[fe80::1%lo]:53"]
tls = ["0.0.0.0", "[::]:8853"]
https = ["127.0.0.1:8443"]
certificate = "/etc/fastdns/fullchain.pem"
key = "/etc/fastdns/key.pem"
name = "DNS.demo."
proxies = ["loopback", "192.0.2.1", "2001:db8::/64"]
[access]
allow = ["lan", "192.0.2.1", "198.51.100.0/24", "2001:DB8::/32", "::/0", "::ffff:10.0.0.0/104"]
deny = ["loopback", "0.0.0.0/0", "2001:db8::1"]
refuse = "drop"
[upstream]
servers = ["9.9.9.9", "tcp://[2620:fe::fe]:5353", "file:SERVERS"]
strategy = "round-robin"
timeout = "123.4567ms"
attempts = 7
trust_ad = true
[cache]
memory = "65MB"
min_ttl = "90s"
max_ttl = "36h"
negative_max_ttl = "1m"
failure_ttl = "2s"
disk = "0"
stale = "2h"
stale_wait = "1234ms"
stale_ttl = "15s"
prefetch = false
commit_interval = "90s"
[[rule]]
names = ["*.dyn.example", "host.example", "*"]
min_ttl = "1s"
max_ttl = "1s"
stale = "1d"
aaaa = "if-no-a"
block_types = ["HTTPS", "TYPE65"]
[[rule]]
names = ["www.dyn.example"]
cache = false
[protect]
rebind = true
rebind_allow = ["plex.direct"]
bogus_answers = ["192.0.2.1", "198.51.100.0/24", "2001:db8::1"]
minimal_any = false
"""


@pytest.mark.parametrize("text", ["", EVERY_KEY])
def test_rendered_configuration_loads_as_the_same(tmp_path: Path, text: str) -> None:
    servers = tmp_path / "ip"
    servers.write_text("9.9.9.9\n")
    written, rendered = tmp_path / "written.toml", tmp_path / "rendered.toml"
    written.write_text(text.replace("SERVERS", str(servers)))
    config = load(written)
    rendered.write_text(render(config))
    assert load(rendered) == config


def test_defaults_are_rendered_as_they_would_be_written(tmp_path: Path) -> None:
    text = render(load(Path("/dev/null"), state=tmp_path))
    assert tomllib.loads(text) == {
        "workers": 1,
        "state_dir": str(tmp_path),
        "run_dir": f"{tmp_path}/run",
        "log_level": "info",
        "include": [],
        "listen": {
            "dns": ["127.0.0.1:53", "[::1]:53"],
            "tls": [],
            "https": [],
            "certificate": "",
            "key": "",
            "name": "",
            "proxies": [],
        },
        "access": {
            "allow": ["loopback", "lan"],
            "deny": [],
            "refuse": "refused",
            "rate_limit": 0,
            "rate_exempt": ["loopback", "lan"],
            "rate_dry_run": False,
        },
        "upstream": {
            "servers": [],
            "strategy": "failover",
            "timeout": "1.5s",
            "attempts": 3,
            "trust_ad": False,
        },
        "local": {"domain": "", "hosts": [], "records": [], "leases": [], "ask_upstream": []},
        "cache": {
            "memory": "64MiB",
            "disk": "256MiB",
            "min_ttl": "0s",
            "max_ttl": "1d",
            "negative_max_ttl": "1h",
            "failure_ttl": "5s",
            "stale": "1d",
            "stale_wait": "1.8s",
            "stale_ttl": "30s",
            "prefetch": True,
            "commit_interval": "30s",
        },
        "block": {
            "lists": [],
            "allow_lists": [],
            "allow": [],
            "deny": [],
            "answer": "null",
            "ttl": "10s",
            "update": "1d",
        },
        "protect": {
            "rebind": False,
            "rebind_allow": [],
            "bogus_answers": [],
            "minimal_any": True,
        },
    }
