"""unbound.conf as ours: each setting, or the reason why it is left out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fastdns.errors import ConfigErrors
from fastdns.migrate.convert import Converted, convert

FORWARD = (
    'forward-zone:\nname: "."\nforward-addr: 9.9.9.9\nserver:\naccess-control: 10.0.0.0/8 allow\n'
)


def converted(tmp_path: Path, text: str) -> Converted:
    file = tmp_path / "unbound.conf"
    file.write_text(text)
    return convert([file], "unbound")


def keys_of(result: Converted) -> dict[str, Any]:
    return tomllib.loads(result.toml)


def told_in(result: Converted, file: Path) -> str:
    return "\n".join(result.remarks).replace(f"{file.parent}/", "")


@pytest.mark.parametrize(
    ("settings", "table", "key", "value"),
    [
        ("num-threads: 4", "", "workers", 4),
        ("interface: 192.168.1.1", "listen", "dns", ["192.168.1.1:53"]),
        ("interface: 192.168.1.1@5353", "listen", "dns", ["192.168.1.1:5353"]),
        ("port: 5335\ninterface: ::1", "listen", "dns", ["[::1]:5335"]),
        ("port: 5335", "listen", "dns", ["127.0.0.1:5335", "[::1]:5335"]),
        ("port:5335\ndo-ip6: no", "listen", "dns", ["127.0.0.1:5335"]),
        ("interface: ::0\ninterface: 0.0.0.0\ndo-ip6: no", "listen", "dns", ["0.0.0.0:53"]),
        ("interface-automatic: yes", "listen", "dns", ["0.0.0.0:53", "[::]:53"]),
        ("interface: lo", "listen", "dns", ["127.0.0.1:53", "[::1]:53"]),
        ("access-control: 10.0.0.1/8 allow", "access", "allow", ["loopback", "10.0.0.0/8"]),
        ("access-control: fd00::/8 allow_snoop", "access", "allow", ["loopback", "fd00::/8"]),
        ("access-control: 127.0.0.0/8 allow", "access", "allow", ["loopback"]),
        ("access-control: 10.0.0.0/8 refuse", "access", "deny", ["10.0.0.0/8"]),
        ("access-control: 10.0.0.0/8 deny", "access", "refuse", "drop"),
        ("msg-cache-size: 50m\nrrset-cache-size: 100m", "cache", "memory", "150MiB"),
        ("rrset-cache-size: 1g", "cache", "memory", "1028MiB"),
        ("msg-cache-size: 1k\nrrset-cache-size: 8", "cache", "memory", "1MiB"),
        ("cache-min-ttl: 60", "cache", "min_ttl", "1m"),
        ("cache-max-ttl: 14400", "cache", "max_ttl", "4h"),
        ("cache-max-negative-ttl: 90", "cache", "negative_max_ttl", "90s"),
        ("prefetch: no", "cache", "prefetch", False),
        ("serve-expired: no", "cache", "stale", "0s"),
        ("serve-expired: yes\nserve-expired-ttl: 3600", "cache", "stale", "1h"),
        ("serve-expired: yes\nserve-expired-ttl: 0", "cache", "stale", "2147483647s"),
        ("serve-expired: yes\nserve-expired-client-timeout: 500", "cache", "stale_wait", "0.5s"),
        ("serve-expired: yes\nserve-expired-reply-ttl: 0", "cache", "stale_ttl", "1s"),
        ("deny-any: yes", "protect", "minimal_any", True),
        ("private-address: 10.0.0.0/8", "protect", "rebind", True),
        ("private-address: 100.64.0.0/10", "protect", "rebind", True),
        (
            'private-address: fd00::/8\nprivate-domain: "lan."',
            "protect",
            "rebind_allow",
            ["lan"],
        ),
        (
            'local-zone: "10.in-addr.arpa." nodefault',
            "local",
            "ask_upstream",
            ["10.in-addr.arpa"],
        ),
        ("local-zone: home.arpa. nodefault", "local", "ask_upstream", ["home.arpa"]),
    ],
)
def test_setting_becomes_a_key(
    tmp_path: Path, settings: str, table: str, key: str, value: object
) -> None:
    found = keys_of(converted(tmp_path, f"server:\n{settings}\n"))

    assert (found[table] if table else found)[key] == value


@pytest.mark.parametrize(
    ("settings", "records"),
    [
        ('local-data: "nas.lan. IN A 192.168.1.10"', ["nas.lan. 3600 A 192.168.1.10"]),
        ("local-data: 'nas.lan 300 A 192.168.1.10'", ["nas.lan. 300 A 192.168.1.10"]),
        ('local-data: "NAS.lan IN 5m A 192.168.1.10"', ["nas.lan. 300 A 192.168.1.10"]),
        ('local-data: \'lan TXT "a b" "c"\'', ['lan. 3600 TXT "a b" "c"']),
        ('local-data-ptr: "192.0.2.3 nas.lan"', ["3.2.0.192.in-addr.arpa. 3600 PTR nas.lan."]),
        ('local-data-ptr: "192.0.2.3 60 nas.lan"', ["3.2.0.192.in-addr.arpa. 60 PTR nas.lan."]),
        ('local-data: "x TXT \\"a b\\" c"', ['x. 3600 TXT \\"a b\\" c']),
        (
            'local-zone: "x.example" redirect\nlocal-data: "x.example A 192.0.2.1"',
            ["*.x.example. 3600 A 192.0.2.1", "x.example. 3600 A 192.0.2.1"],
        ),
        (
            "local-zone: x.example always_null",
            [
                *("x.example. 60 A 0.0.0.0", "x.example. 60 AAAA ::"),
                *("*.x.example. 60 A 0.0.0.0", "*.x.example. 60 AAAA ::"),
            ],
        ),
    ],
)
def test_local_data_becomes_records(tmp_path: Path, settings: str, records: list[str]) -> None:
    found = keys_of(converted(tmp_path, f"server:\n{settings}\n"))

    assert found["local"]["records"] == records


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("static", "local"),
        ("always_nxdomain", "blocked"),
        ("refuse", "blocked"),
        ("always_nodata", "blocked"),
        ("inform_deny", "blocked"),
        ("transparent", None),
        ("inform", None),
        ("typetransparent", None),
    ],
)
def test_local_zone_by_its_type(tmp_path: Path, kind: str, group: str | None) -> None:
    result = converted(tmp_path, f'server:\nlocal-zone: "x.example." {kind}\n')

    groups = keys_of(result).get("forward", [])
    expected = {"name": group, "domains": ["x.example"], "answer": "nxdomain"}
    assert groups == ([expected] if group else [])
    assert ("differs" in "\n".join(result.remarks)) == (
        kind in ("refuse", "always_nodata", "inform_deny", "typetransparent")
    )


def test_forward_zone_of_the_root_is_upstream_and_others_are_groups(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        """
forward-zone:
    name: "."
    forward-addr: 9.9.9.9@5353
    forward-addr: 2620:fe::fe
forward-zone:
    name: "corp.example."
    forward-addr: 10.0.0.53
stub-zone:
    name: "10.in-addr.arpa"
    stub-addr: 10.0.0.53
forward-zone:
    name: lab.example
    forward-tcp-upstream: yes
    forward-addr: 10.0.0.54
    forward-no-cache: yes
""",
    )

    found = keys_of(result)
    assert found["upstream"]["servers"] == ["9.9.9.9:5353", "[2620:fe::fe]:53"]
    assert found["forward"] == [
        {
            "name": "corp-example",
            "domains": ["corp.example", "10.in-addr.arpa"],
            "servers": ["10.0.0.53:53"],
        },
        {"name": "lab-example", "domains": ["lab.example"], "servers": ["tcp://10.0.0.54:53"]},
    ]
    assert found["rule"] == [{"names": ["lab.example", "*.lab.example"], "cache": False}]


def test_forward_first_makes_a_group_of_its_own(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "forward-zone:\nname: a.example\nforward-addr: 10.0.0.1\n"
        "forward-zone:\nname: b.example\nforward-addr: 10.0.0.1\nforward-first: yes\n"
        "forward-zone:\nname: c.example\nforward-addr: 10.0.0.1\n",
    )

    groups = {one["name"]: one for one in keys_of(result)["forward"]}
    assert groups["a-example"]["domains"] == ["a.example", "c.example"]
    assert groups["b-example"]["fallback_to_default"] is True


def test_nodefault_of_a_group_needs_no_key(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "server:\nlocal-zone: 10.in-addr.arpa nodefault\n"
        "stub-zone:\nname: 10.in-addr.arpa\nstub-addr: 10.0.0.1\n",
    )

    assert "local" not in keys_of(result)


def test_unblocked_lan_zones_are_asked_upstream(tmp_path: Path) -> None:
    found = keys_of(converted(tmp_path, "server:\nunblock-lan-zones: yes\n"))

    assert "168.192.in-addr.arpa" in found["local"]["ask_upstream"]
    assert "31.172.in-addr.arpa" in found["local"]["ask_upstream"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "server:\nharden-dnssec-stripped: yes\n",
            "2: harden-dnssec-stripped is left out: fastdns does not val",
        ),
        (
            "server:\nval-log-level: 1\nval-sig-skew-min: 1\nport: 53\nval-bogus-ttl: 1\n",
            "2-3, 5: val-log-level, val-sig-skew-min, val-bogus-ttl are left out: fastdns does not",
        ),
        ("server:\nuse-caps-for-id: no\n", "2: use-caps-for-id is not needed: it is off"),
        ("server:\nfrob: 3\n", "2: frob is left out: it is not a setting that fastdns knows"),
        (
            "server:\ninterface: 0.0.0.0@853\n",
            "2: interface: 0.0.0.0@853 is left out: it needs tls-service-key",
        ),
        (
            "server:\ninterface: nowhere9\n",
            "2: interface: nowhere9 is left out: fastdns listens on addr",
        ),
        (
            "server:\nlocal-data: 'x CH TXT y'\n",
            "2: local-data: x CH TXT y is left out: it is not in class IN",
        ),
        ("server:\nlocal-data: 'x A 1.2'\n", "2: local-data: x A 1.2 is left out: "),
        ("server:\nlocal-zone: x frob\n", "2: local-zone: x frob is left out: it has a type"),
        ("server:\nlocal-zone: x\n", "2: local-zone: x is left out: it has no type"),
        (
            "server:\nlocal-zone: x always_null\nlocal-data: 'x A 192.0.2.1'\n",
            "3: local-data: x A 192.0.2.1 is left out: unbound ignores it",
        ),
        (
            "server:\nlocal-data: 'x A 192.0.2.1'\nlocal-data: 'x CNAME y'\n",
            "3: local-data: x CNAME y is left out: x. has a CNAME record and others",
        ),
        ("server:\nmsg-cache-size: big\n", "2: msg-cache-size: big is left out: it is not a size"),
        ("server:\nnum-threads: x\n", "2: num-threads: x is left out: it is not a number"),
        (
            "server:\naccess-control: 10.0.0.0/8 frob\n",
            "2: access-control: 10.0.0.0/8 frob is left out",
        ),
        (
            "server:\nprivate-address: 192.0.3.0/24\n",
            "2: private-address: 192.0.3.0/24 is left out",
        ),
        (
            "server:\nprivate-address: 192.168.0.0/16\nprivate-address: fd00::/8\n",
            "2-3: private-address differs: protect.rebind is about all private addresses",
        ),
        (
            "forward-zone:\nname: x.example\nforward-addr: 10.0.0.1\n",
            "2: forward-zone differs: if a name outside has a CNAME to one under it, unbound asks",
        ),
        ("server:\nport:\n", "2: port: is left out: it has no value"),
        ("junk\nserver:\n", "1: junk is left out: it is not a setting of unbound"),
        ("forward-zone:\nforward-addr: 9.9.9.9\n", "1: forward-zone: is left out: it has no name"),
        (
            "forward-zone:\nname: x\nforward-host: ns.x\n",
            "3: forward-host is left out: fastdns needs IP addr",
        ),
        (
            "forward-zone:\nname: x\nforward-addr: 1.1.1.1@853#a.b\n",
            "3: forward-addr: 1.1.1.1@853#a.b is left",
        ),
        (
            "forward-zone:\nname: .\nforward-tls-upstream: yes\nforward-addr: 1.1.1.1@853\n",
            "3: forward-zone . differs: DNS over TLS to upstreams is not in this version",
        ),
        (
            "server:\ntls-upstream: yes\nforward-zone:\nname: x\nforward-addr: 1.1.1.1\n",
            "2: forward-zone x differs: DNS over TLS to upstreams is not in this version",
        ),
        ("remote-control:\ncontrol-enable: yes\n", "2: remote-control: is not needed"),
        ("auth-zone:\nname: x\nzonefile: y\n", "2-3: auth-zone: is left out: a zone file"),
        (
            "server:\nlocal-zone: localhost static\n",
            "2: local-zone: localhost static is not needed",
        ),
        (
            "server:\nlocal-data: 'localhost A 127.0.0.1'\n",
            "2: local-data of localhost is not needed",
        ),
        (
            "server:\nlocal-data: '*.x A 192.0.2.1'\n",
            "2: local-data differs: * stands for any name",
        ),
    ],
)
def test_line_that_is_left_out_is_named(tmp_path: Path, text: str, line: str) -> None:
    result = converted(tmp_path, text)

    assert f"unbound.conf:{line}" in told_in(result, tmp_path / "unbound.conf")


def test_missing_upstreams_and_access_are_told(tmp_path: Path) -> None:
    bare, full = converted(tmp_path, "server:\nport: 53\n"), converted(tmp_path, FORWARD)

    assert 'has no forward-zone "."' in "\n".join(bare.remarks)
    assert "has no access-control" in "\n".join(bare.remarks)
    assert full.remarks == []


def test_encrypted_group_does_not_become_a_plain_one(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "forward-zone:\nname: x.example\nforward-tls-upstream: yes\nforward-addr: 1.1.1.1@853#y\n",
    )

    assert "forward" not in keys_of(result)
    assert "the default upstreams, in plain text" in "\n".join(result.remarks)


def test_result_ends_with_what_is_not_in_it(tmp_path: Path) -> None:
    text = converted(tmp_path, "server:\nport: 5335\nfrob: 1\nverbosity: 1\n").toml

    before, _, after = text.partition("# Not converted, or different here:\n")
    assert 'dns = ["127.0.0.1:5335", "[::1]:5335"]' in before
    assert f"# {tmp_path}/unbound.conf:3: frob is left out: " in after
    assert "verbosity" not in after


def test_quotes_comments_and_several_settings_on_a_line(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "server: port: 5335 # the port\n"
        "  local-data: 'x. TXT \"# no comment\"'#comment\n"
        "forward-zone: name: '.' forward-addr: 9.9.9.9#dns.quad9.net\n",
    )

    found = keys_of(result)
    assert found["listen"]["dns"] == ["127.0.0.1:5335", "[::1]:5335"]
    assert found["local"]["records"] == ['x. 3600 TXT "# no comment"']
    assert found["upstream"]["servers"] == ["9.9.9.9:53"]


def test_included_files_are_read_once_and_named(tmp_path: Path) -> None:
    parts = tmp_path / "conf.d"
    parts.mkdir()
    (parts / "a.conf").write_text(f'include: "{tmp_path}/unbound.conf"\ncache-min-ttl: 30\n')
    (parts / "b.conf").write_text("num-threads: 3\nfrob: 1\n")
    result = converted(
        tmp_path, 'server:\ninclude: "conf.d/*.conf"\ninclude: gone.conf\ninclude: "none*.conf"\n'
    )

    found = keys_of(result)
    assert found["workers"] == 3
    assert found["cache"]["min_ttl"] == "30s"
    assert "workers = 3  # b.conf:1" in result.toml
    assert result.files == 3
    told = told_in(result, tmp_path / "unbound.conf")
    assert "conf.d/a.conf:1: include: " in told
    assert "is not needed: unbound.conf is read already" in told
    assert "conf.d/b.conf:2: frob is left out" in told
    assert "unbound.conf:3: include: gone.conf is left out: " in told
    assert "unbound.conf:4: include: none*.conf is not needed" in told


def test_upstream_that_is_fastdns_itself_is_left_out(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "server:\ninterface: 0.0.0.0\nforward-zone:\nname: .\nforward-addr: 127.0.0.1\n"
        "forward-zone:\nname: x\nforward-addr: 127.0.0.2@53\n",
    )

    assert "upstream" not in keys_of(result)
    assert "forward" not in keys_of(result)
    assert "\n".join(result.remarks).count("fastdns itself listens there") == 2


def test_first_of_two_access_rules_of_a_prefix_counts(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "server:\naccess-control: 10.0.0.0/8 allow\naccess-control: 10.0.0.0/8 refuse\n",
    )

    assert keys_of(result)["access"] == {"allow": ["loopback", "10.0.0.0/8"]}


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"gone\.conf: cannot be read: No such file"):
        convert([tmp_path / "gone.conf"], None)


def test_octets_that_are_not_text_do_not_stop_it(tmp_path: Path) -> None:
    file = tmp_path / "unbound.conf"
    file.write_bytes(
        b'\xef\xbb\xbfserver:\r\n# \xfc\xff\x00\r\nport: 5335\r\nidentity: "\x00\xff\n'
    )

    result = convert([file])

    assert keys_of(result)["listen"]["dns"] == ["127.0.0.1:5335", "[::1]:5335"]


PAIR = "tls-service-key: /etc/ssl/private/dns.key\ntls-service-pem: /etc/ssl/dns.pem\n"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("interface: 0.0.0.0@853", {"tls": ["0.0.0.0:853"]}),
        (
            "interface: 0.0.0.0\ninterface: ::@443\ninterface: ::1@853",
            {"dns": ["0.0.0.0:53"], "tls": ["[::1]:853"], "https": ["[::]:443"]},
        ),
        (
            "tls-port: 8853\nhttps-port: 8443\ninterface: 10.0.0.1@8853\ninterface: 10.0.0.1@8443"
            "\ninterface: 10.0.0.1@853",
            {"dns": ["10.0.0.1:853"], "tls": ["10.0.0.1:8853"], "https": ["10.0.0.1:8443"]},
        ),
        ("ssl-port: 8853\ninterface: 10.0.0.1@8853", {"tls": ["10.0.0.1:8853"]}),
        ("tls-additional-port: 8853\ninterface: 10.0.0.1@8853", {"tls": ["10.0.0.1:8853"]}),
        ("port: 853\ninterface: 10.0.0.1", {"tls": ["10.0.0.1:853"]}),
        (
            "interface-automatic: yes\ninterface-automatic-ports: '53 443'\ndo-ip6: no",
            {"dns": ["0.0.0.0:53"], "https": ["0.0.0.0:443"]},
        ),
    ],
)
def test_encrypted_addresses_are_converted_with_their_certificate(
    tmp_path: Path, settings: str, expected: dict[str, list[str]]
) -> None:
    result = converted(tmp_path, f"server:\n{settings}\n{PAIR}")

    pair = {"certificate": "/etc/ssl/dns.pem", "key": "/etc/ssl/private/dns.key"}
    assert keys_of(result)["listen"] == {**expected, **pair}
    assert result.left_out == 0
    assert "tls-service-key differs: the user of fastdns.service must be" in "\n".join(
        result.remarks
    )


def test_files_of_the_certificate_are_those_below_the_directory_of_unbound(tmp_path: Path) -> None:
    text = "interface: ::1@853\ntls-service-key: k.pem\ntls-service-pem: c/f.pem\n"

    usual = keys_of(converted(tmp_path, f"server:\n{text}"))["listen"]
    other = keys_of(converted(tmp_path, f"server:\ndirectory: /opt/u\n{text}"))["listen"]

    assert (usual["key"], usual["certificate"]) == ("/etc/unbound/k.pem", "/etc/unbound/c/f.pem")
    assert (other["key"], other["certificate"]) == ("/opt/u/k.pem", "/opt/u/c/f.pem")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            "interface: ::1",
            "2-3: tls-service-pem, tls-service-key are not needed: no address needs a certificate",
        ),
        (
            "interface: 127.0.0.1@443\nhttp-notls-downstream: yes",
            "4: interface: 127.0.0.1@443 is left out: fastdns takes HTTP without TLS only from pro",
        ),
        (
            "interface: ::1@443\nhttp-endpoint: /q",
            "5: http-endpoint: /q differs: clients of fastdns ask for the path /dns-query",
        ),
        ("interface: ::1@853", " has encrypted addresses only; fastdns also serves plain DNS"),
        ("tls-ciphers: x", "4: tls-ciphers is not needed: fastdns chooses"),
        ("tls-cert-bundle: x", "4: tls-cert-bundle is left out: DNS over TLS to upstreams is not"),
        ("tls-frob: 1", "4: tls-frob is left out: fastdns has no key for it"),
        ("pad-responses: yes", "4: pad-responses is not needed: answers are padded"),
    ],
)
def test_what_differs_about_encryption_is_told(tmp_path: Path, settings: str, line: str) -> None:
    result = converted(tmp_path, f"server:\n{PAIR}{settings}\n")

    assert f"unbound.conf:{line}" in told_in(result, tmp_path / "unbound.conf")
