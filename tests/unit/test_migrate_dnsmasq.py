"""dnsmasq.conf as ours: each option, or the reason why it is left out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fastdns.migrate.convert import Converted, convert

START = "local-service\nno-resolv\nno-hosts\nlisten-address=127.0.0.1\n"
STARTED = START.count("\n")  # a line of a test is this one and its own number
LISTS = Path("/work/shared/lists")


def converted(tmp_path: Path, text: str, start: str = START) -> Converted:
    file = tmp_path / "dnsmasq.conf"
    file.write_text(start + text)
    return convert([file], "dnsmasq")


def keys_of(result: Converted) -> dict[str, Any]:
    return tomllib.loads(result.toml)


def told_in(result: Converted, directory: Path) -> str:
    return "\n".join(result.remarks).replace(f"{directory}/", "")


@pytest.mark.parametrize(
    ("options", "table", "key", "value"),
    [
        ("server=9.9.9.9\nserver=9.9.9.9\n", "upstream", "servers", ["9.9.9.9:53"]),
        ("server=2620:fe::fe#5353\n", "upstream", "servers", ["[2620:fe::fe]:5353"]),
        ("server=fe80::1%eth0\n", "upstream", "servers", ["[fe80::1%eth0]:53"]),
        ("server=9.9.9.9#53@eth0\n", "upstream", "servers", ["9.9.9.9:53"]),
        ("strict-order\n", "upstream", "strategy", "failover"),
        ("proxy-dnssec\n", "upstream", "trust_ad", True),
        ("cache-size=10000\n", "cache", "memory", "8MiB"),
        ("cache-size=100000\n", "cache", "memory", "39MiB"),
        ("min-cache-ttl=60\n", "cache", "min_ttl", "1m"),
        ("max-cache-ttl=600\nmax-ttl=60\n", "cache", "max_ttl", "1m"),
        ("max-ttl=60\nmax-cache-ttl=600\n", "cache", "max_ttl", "1m"),
        ("no-negcache\n", "cache", "negative_max_ttl", "0s"),
        ("use-stale-cache\n", "cache", "stale", "1d"),
        ("use-stale-cache=3600\n", "cache", "stale", "1h"),
        ("domain=Lan.\n", "local", "domain", "lan"),
        ("addn-hosts=/etc/hosts.lan\n", "local", "hosts", ["/etc/hosts.lan"]),
        ("dhcp-leasefile=/tmp/leases\n", "local", "leases", ["/tmp/leases"]),
        ("dhcp-range=192.168.1.9,192.168.1.99\n", "local", "leases", ["auto"]),
        ("stop-dns-rebind\n", "protect", "rebind", True),
        ("rebind-domain-ok=/a.example/b/\n", "protect", "rebind_allow", ["a.example", "b"]),
        ("bogus-nxdomain=192.0.2.1\n", "protect", "bogus_answers", ["192.0.2.1"]),
        ("ignore-address=192.0.2.9/24\n", "protect", "bogus_answers", ["192.0.2.0/24"]),
        (
            "listen-address=::1,192.0.2.1\n",
            "listen",
            "dns",
            ["127.0.0.1:53", "[::1]:53", "192.0.2.1:53"],
        ),
        ("port=5353\n", "listen", "dns", ["127.0.0.1:5353"]),
        ("interface=lo\n", "listen", "dns", ["127.0.0.1:53", "[::1]:53"]),
    ],
)
def test_option_becomes_a_key(
    tmp_path: Path, options: str, table: str, key: str, value: object
) -> None:
    assert keys_of(converted(tmp_path, options))[table][key] == value


@pytest.mark.parametrize(
    ("option", "records"),
    [
        ("address=/x.example/192.0.2.1", ["x.example. A 192.0.2.1", "*.x.example. A 192.0.2.1"]),
        ("address=/.x.example/::1", ["x.example. AAAA ::1", "*.x.example. AAAA ::1"]),
        ("address=/*.x.example/192.0.2.1", ["*.x.example. A 192.0.2.1"]),
        ("address=/x/#", ["x. A 0.0.0.0", "*.x. A 0.0.0.0", "x. AAAA ::", "*.x. AAAA ::"]),
        ("local-ttl=90\naddress=/x/::1", ["x. 90 AAAA ::1", "*.x. 90 AAAA ::1"]),
        (
            "host-record=nas.lan,nas,192.0.2.1,300",
            [
                *("nas.lan. 300 A 192.0.2.1", "nas. 300 A 192.0.2.1"),
                "1.2.0.192.in-addr.arpa. 300 PTR nas.lan.",
            ],
        ),
        ("cname=a.lan,b.lan,nas.lan,60", ["a.lan. 60 CNAME nas.lan.", "b.lan. 60 CNAME nas.lan."]),
        ("address=/#/192.0.2.1", ["*. A 192.0.2.1"]),
        ("address=/#/#", ["*. A 0.0.0.0", "*. AAAA ::"]),
        ("ptr-record=_http._tcp.lan,web.lan", ["_http._tcp.lan. PTR web.lan."]),
        ('txt-record=lan,"a, b",c', ['lan. TXT "a, b" "c"']),
        ('txt-record=lan,"say \\"hi\\""', ['lan. TXT "say \\"hi\\""']),
        ("txt-record=lan", ['lan. TXT ""']),
        ("srv-host=_sip._udp.lan,pbx.lan,5060,10,20", ["_sip._udp.lan. SRV 10 20 5060 pbx.lan."]),
        ("srv-host=_sip._udp.lan", ["_sip._udp.lan. SRV 0 0 0 ."]),
        ("mx-host=lan,mail.lan,50", ["lan. MX 50 mail.lan."]),
        ("mx-host=lan,mail.lan", ["lan. MX 1 mail.lan."]),
        ("caa-record=lan,0,issue,ca.example", ['lan. CAA 0 issue "ca.example"']),
        ("dns-rr=x.lan,65280,01:23 45", ["x.lan. TYPE65280 \\# 3 012345"]),
        (
            "naptr-record=lan,10,20,S,SIP+D2U,,_sip._udp.lan",
            ['lan. NAPTR 10 20 "S" "SIP+D2U" "" _sip._udp.lan.'],
        ),
    ],
)
def test_option_becomes_records(tmp_path: Path, option: str, records: list[str]) -> None:
    assert keys_of(converted(tmp_path, f"{option}\n"))["local"]["records"] == records


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ("server=/a.example/b.example/10.0.0.1#5353", [
            {"name": "a-example", "domains": ["a.example", "b.example"],
             "servers": ["10.0.0.1:5353"]}]),
        ("server=/a/10.0.0.1\nserver=/a/10.0.0.2\nserver=/b/10.0.0.1", [
            {"name": "a", "domains": ["a"], "servers": ["10.0.0.1:53", "10.0.0.2:53"]},
            {"name": "b", "domains": ["b"], "servers": ["10.0.0.1:53"]}]),
        ("server=9.9.9.9\nserver=/a/10.0.0.1\nserver=/b.a/#", [
            {"name": "a", "domains": ["a"], "servers": ["10.0.0.1:53"]},
            {"name": "b-a", "domains": ["b.a"], "servers": ["9.9.9.9:53"]}]),
        ("server=/a/\nlocal=/b/\naddress=/c/", [
            {"name": "local", "domains": ["a", "b"], "answer": "nxdomain"},
            {"name": "blocked", "domains": ["c"], "answer": "nxdomain"}]),
        ("rev-server=10.0.0.0/8,10.0.0.1", [
            {"name": "10-in-addr-arpa", "domains": ["10.in-addr.arpa"],
             "servers": ["10.0.0.1:53"]}]),
        ("rev-server=192.168.2.0/23,10.0.0.1#54\nserver=/lan/10.0.0.1#54", [
            {"name": "lan",
             "domains": ["2.168.192.in-addr.arpa", "3.168.192.in-addr.arpa", "lan"],
             "servers": ["10.0.0.1:54"]}]),
        ("rev-server=fd00:12::/32,10.0.0.1", [
            {"name": "2-1-0-0-0-0-d-f-ip6-arpa", "domains": ["2.1.0.0.0.0.d.f.ip6.arpa"],
             "servers": ["10.0.0.1:53"]}]),
        ("domain=lan\nlocal=/lan/", []),
        ("server=/localhost/\nserver=/invalid/\nserver=/10.in-addr.arpa/", []),
    ],
)  # fmt: skip
def test_domains_become_groups(
    tmp_path: Path, options: str, groups: list[dict[str, object]]
) -> None:
    assert keys_of(converted(tmp_path, f"{options}\n")).get("forward", []) == groups


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("neg-ttl=60", "neg-ttl is left out: fastdns does not cache negative answers without"),
        ("domain-needed", "domain-needed is left out"),
        ("bogus-priv", "bogus-priv is not needed"),
        ("frob=1", "frob is left out: it is not an option that fastdns knows"),
        ("server=ns.example", "server=ns.example is left out: "),
        ("server=//10.0.0.1", "server=//10.0.0.1 is left out: fastdns has nothing for names with"),
        ("server=/#/10.0.0.1", "server=/#/10.0.0.1 is left out: fastdns cannot do that for all"),
        ("server=/a*b/10.0.0.1", "server=/a*b/10.0.0.1 is left out: fastdns knows whole labels"),
        ("server=/b/#", "server=/b/# is left out: it needs upstream.servers"),
        ("server=/a..b/10.0.0.1", "server=/a..b/10.0.0.1 is left out: "),
        ("address=/#/", "address=/#/ is left out: fastdns cannot do that for all names"),
        ("address=/#/192.0.2.1", "address differs: the names have no data of other types"),
        ("cname=*.w.lan,x.lan", "cname=*.w.lan,x.lan differs: dnsmasq has it only in an auth-zone"),
        (
            "addn-hosts=/etc/hosts.lan\nlocal-ttl=30",
            "local-ttl=30 differs: names of hosts files and leases have a TTL of 60 seconds here",
        ),
        ("address=/x/ads", "address=/x/ads is left out: "),
        ("address=192.0.2.1", "address=192.0.2.1 is left out: it names no domain"),
        ("address=/x/192.0.2.1", "address differs: the names have no data of other types"),
        ("rev-server=lan,10.0.0.1", "rev-server=lan,10.0.0.1 is left out: "),
        ("cache-size=0", "cache-size=0 is left out: fastdns always has a cache"),
        ("cache-size=lots", "cache-size=lots is left out: it is not a number"),
        ("mx-host=lan,10", "mx-host=lan,10 is left out: it names no mail server"),
        ("host-record=nas", "host-record=nas is left out: it has no name and address"),
        ("cname=nas", "cname=nas is left out: it lacks a part"),
        ("dns-rr=x,65,123", "dns-rr=x,65,123 is left out: it has half a byte"),
        ("interface=nowhere9", "interface=nowhere9 is left out: fastdns listens on addresses"),
        ("hostsdir=/nowhere", "hostsdir=/nowhere is left out: it is not a directory here"),
        ("resolv-file=/nowhere", "resolv-file=/nowhere is not needed: there is no-resolv"),
        ("expand-hosts", "expand-hosts is left out: there is no domain="),
        ("domain=a\ndomain=b,192.168.1.0/24", "domain=b,192.168.1.0/24 is left out: "),
        ("domain=a\nserver=/a/10.0.0.1", "domain=a is left out: its names are asked from the serv"),
        ("address=/a b/192.0.2.1", "address=/a b/192.0.2.1 is left out: "),
        ("server=/a/10.0.0.1\nserver=/A./", "server=/A./ is left out: a has 10.0.0.1:53 already"),
        ("interface=a\0b", "interface=a\\u0000b is left out: "),
        ("host-record=file:x,192.0.2.1", "host-record=file:x,192.0.2.1 is left out: "),
        ("rebind-domain-ok=a..b", "rebind-domain-ok=a..b is left out: "),
        ("domain=a", "domain=a differs: names under it are never asked upstream here"),
        ("conf-script=/bin/x", "conf-script is left out: fastdns runs no script"),
        ("dhcp-host=a,b", "dhcp-host is left out: fastdns is not a DHCP server. Keep dnsmasq"),
        ("port=0", "port=0: dnsmasq answers no queries"),
        ("conf-dir=/nowhere", "conf-dir=/nowhere is left out: /nowhere: No such file"),
        ("bogus-nxdomain=192.0.2.1", "bogus-nxdomain differs: "),
    ],
)
def test_option_that_is_left_out_is_named(tmp_path: Path, option: str, told: str) -> None:
    result = converted(tmp_path, f"{option}\n")

    line = STARTED + option.count("\n") + 1
    first = f"dnsmasq.conf:{STARTED + 1}: {told}"
    assert f"dnsmasq.conf:{line}: {told}" in told_in(result, tmp_path) or first in told_in(
        result, tmp_path
    )


def test_names_of_all_dhcp_options_are_one_line(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        "dhcp-host=a\ndhcp-range=192.168.1.9,192.168.1.99\ndhcp-option=3,1.2.3.4\nenable-ra\n"
        "server=9.9.9.9\ntftp-root=/x\n",
    )

    (line,) = [one for one in result.remarks if "DHCP" in one]
    assert ":5-8, 10: dhcp-host, dhcp-option, enable-ra, tftp-root and 1 more are left out" in line


def test_defaults_of_dnsmasq_are_told(tmp_path: Path) -> None:
    result = converted(tmp_path, "server=9.9.9.9\n", start="")

    found = keys_of(result)
    assert found["listen"]["dns"] == ["0.0.0.0:53", "[::]:53"]
    assert found["local"]["hosts"] == ["/etc/hosts"]
    told = "\n".join(result.remarks)
    assert "has no local-service" in told
    assert "has no no-resolv" in told


def test_nobody_to_ask_is_told(tmp_path: Path) -> None:
    assert "no-resolv, and no server=" in "\n".join(converted(tmp_path, "").remarks)


def test_servers_of_a_resolv_file_are_copied(tmp_path: Path) -> None:
    (tmp_path / "resolv.auto").write_text("search lan\nnameserver 192.0.2.1\nnameserver fe80::1\n")
    result = converted(tmp_path, "resolv-file=resolv.auto\n", start="")

    assert keys_of(result)["upstream"]["servers"] == ["192.0.2.1:53"]
    assert "changes of this file are not followed" in "\n".join(result.remarks)


def test_directory_of_hosts_files_is_its_files(tmp_path: Path) -> None:
    directory = tmp_path / "hosts"
    directory.mkdir()
    for name in ("b", "a", ".hidden", "old~"):
        (directory / name).write_text("")

    found = keys_of(converted(tmp_path, "addn-hosts=hosts\nhostsdir=hosts\n"))

    assert found["local"]["hosts"] == [str(directory / "a"), str(directory / "b")]


def test_all_ipv6_and_other_types_are_filtered_by_rules(tmp_path: Path) -> None:
    found = keys_of(converted(tmp_path, "filter-AAAA\nfilter-rr=HTTPS,65280\nfilter-rr=ANY\n"))

    assert found["rule"] == [
        {"names": ["*"], "aaaa": "never", "block_types": ["HTTPS", "TYPE65280"]}
    ]


def test_addresses_are_filtered_by_a_rule(tmp_path: Path) -> None:
    assert keys_of(converted(tmp_path, "filter-A\n"))["rule"] == [
        {"names": ["*"], "block_types": ["A"]}
    ]


def test_ttl_of_local_names_without_files_is_not_told(tmp_path: Path) -> None:
    text = "server=9.9.9.9\nlocal-ttl=30\nhost-record=a.lan,192.0.2.1\n"
    assert converted(tmp_path, text).remarks == []


def test_group_below_a_wildcard_of_address_is_told(tmp_path: Path) -> None:
    result = converted(tmp_path, "address=/example/192.0.2.1\nserver=/corp.example/10.0.0.1\n")

    assert "corp.example is under a domain of address=, which wins here" in "\n".join(
        result.remarks
    )


def test_quotes_comments_and_spaces(tmp_path: Path) -> None:
    result = converted(
        tmp_path,
        '  # comment\n# x\nserver = 9.9.9.9#53   # comment # more\n"server=9.9.9.10"\n\r\n'
        'txt-record=lan,"a # b"  # c\n--server=9.9.9.11\n',
    )

    found = keys_of(result)
    assert found["upstream"]["servers"] == ["9.9.9.9:53", "9.9.9.10:53", "9.9.9.11:53"]
    assert found["local"]["records"] == ['lan. TXT "a # b"']
    assert result.left_out == 0


def test_files_of_a_directory_by_their_suffix(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    for number, name in enumerate(("a.conf", "b.old", "c~", ".d", "#e#", "f.bak"), start=1):
        (directory / name).write_text(f"server=192.0.2.{number}\nconf-dir=../d\n")
    (directory / "sub").mkdir()

    def servers(option: str) -> list[str]:
        return keys_of(converted(tmp_path, f"{option}\n"))["upstream"]["servers"]

    assert servers("conf-dir=d,*.conf") == ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.6:53"]
    assert servers("conf-file=d/b.old")[0] == "192.0.2.2:53"
    (directory / "a.conf").write_text("server=192.0.2.1\n")
    assert servers("conf-dir=d,*.conf") == ["192.0.2.1:53"]
    assert servers("conf-dir=d,.old,.bak") == ["192.0.2.1:53"]


def test_directory_that_only_debians_service_names_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "dnsmasq.d"
    directory.mkdir()
    assert "Debian" not in "\n".join(converted(tmp_path, "").remarks)
    (directory / "README").write_text("")
    (directory / "lan.conf").write_text("server=9.9.9.9\n")

    assert f"{directory} is not read; if" in "\n".join(converted(tmp_path, "").remarks)
    both = convert([tmp_path / "dnsmasq.conf", directory / "lan.conf"])
    assert "Debian" not in "\n".join(both.remarks)


# ---- long lists


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ("server=/{}/10.0.0.1", {"servers": ["10.0.0.1:53"]}),
        ("local=/{}/", {"answer": "nxdomain"}),
        ("address=/{}/0.0.0.0", {"answer": "nxdomain"}),
        ("address=/{}/#", {"answer": "nxdomain"}),
    ],
)
def test_file_that_is_a_long_list_is_named(
    tmp_path: Path, line: str, group: dict[str, object]
) -> None:
    file = tmp_path / "long.conf"
    lines = [line.format(f"d{number}.example") for number in range(500)]
    file.write_text("\n".join(["# a list", *lines, ""]))
    result = converted(tmp_path, "conf-file=long.conf\n")

    assert keys_of(result)["forward"] == [{"name": "long", "domains": [f"file:{file}"], **group}]
    assert ("null addresses" in "\n".join(result.remarks)) == line.startswith("address")


@pytest.mark.parametrize(
    "other", ["server=/x.example/10.0.0.2", "address=/x/192.0.2.1", "cache-size=500"]
)
def test_file_with_other_lines_is_copied(tmp_path: Path, other: str) -> None:
    lines = [f"server=/d{number}.example/10.0.0.1" for number in range(500)]
    (tmp_path / "long.conf").write_text("\n".join([*lines, other, ""]))

    group = keys_of(converted(tmp_path, "conf-file=long.conf\n"))["forward"][0]
    assert len(group["domains"]) == 500


def test_list_that_is_too_long_to_copy_is_left_out_as_a_whole(tmp_path: Path) -> None:
    lines = [f"server=/d{number}.example/10.0.0.1\n" for number in range(3000)]
    blocked = [f"address=/e{number}.example/192.0.2.1\n" for number in range(3000)]
    result = converted(tmp_path, "".join(lines + blocked))

    assert "forward" not in keys_of(result)
    told = "\n".join(result.remarks)
    assert "3,000 domains of the group d0-example are left out: they are too many" in told
    assert 'domains = ["file:PATH"] and servers = ["10.0.0.1:53"]' in told
    assert "6,000 local records are left out: they are too many" in told


def test_long_list_of_bogus_addresses_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bogus.conf"
    file.write_text("".join(f"bogus-nxdomain=192.0.2.{number}\n" for number in range(200)))
    found = keys_of(converted(tmp_path, "conf-file=bogus.conf\n"))

    assert found["protect"]["bogus_answers"] == [f"file:{file}"]


@pytest.mark.skipif(not LISTS.exists(), reason="the real lists are not here")
def test_real_lists_are_named(tmp_path: Path) -> None:
    paths = [LISTS / "accelerated-domains.china.conf", LISTS / "bogus-nxdomain.china.conf"]
    found = keys_of(converted(tmp_path, "".join(f"conf-file={one}\n" for one in paths)))

    assert found["forward"] == [
        {
            "name": "accelerated-domains-china",
            "domains": [f"file:{paths[0]}"],
            "servers": ["114.114.114.114:53"],
        }
    ]
    assert found["protect"]["bogus_answers"] == [f"file:{paths[1]}"]
