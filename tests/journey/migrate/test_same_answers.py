"""fastdns with a converted configuration answers as dnsmasq and unbound do with the original."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.client import ask
from ..support.daemon import Fastdns
from .conftest import Peer, Upstreams, converted, copy_of, gist, port_of_peer

# No DHCP server is started, no bus is asked, no file of the machine is read.
NOT_OF_DNS = re.compile(
    r"^(?:dhcp|no-dhcp|enable-ubus|read-ethers|bind-dynamic|user|group|addn-hosts=/|hostsdir|dnssec"
    r"|trust-anchor|log-).*$",
    re.M,
)
ROUTER = re.compile(r"^((?:rev-)?server=.*)192\.168\.1\.1$", re.M)  # an upstream that is not here
OPENWRT = [
    *("nas.lan A", "nas.lan AAAA", "nas.lan MX", "printer.lan A", "printer A", "files.lan A"),
    *("info.lan TXT", "_ldap._tcp.lan SRV", "lan MX", "b._dns-sd._udp.lan PTR", "lan SRV"),
    *("10.1.168.192.in-addr.arpa PTR", "11.1.168.192.in-addr.arpa PTR"),
    *("99.1.168.192.in-addr.arpa PTR", "unknown.lan A", "unknown.lan AAAA", "lan NS"),
    *("router.example A", "deep.in.router.example A", "tracker.example A", "a.tracker.example MX"),
    *("ads.example A", "a.ads.example A", "a.ads.example AAAA", "www.example A"),
    *("corp.example A", "www.corp.example A", "open.corp.example A", "a.open.corp.example A"),
    *("a.bind A", "a.invalid A", "a.test A", "a.local A", "a.onion A"),
    *("tv A", "tv.lan A", "TV.lan AAAA", "30.1.168.192.in-addr.arpa PTR", "radio A", "radio.lan A"),
    *("rebind.example A", "tv.plex.direct A"),
]
# Not files.home.example, a CNAME to a name that does not exist: dnsmasq says NOERROR, fastdns what
# is true of its end (RFC 6604 section 3).
PI_HOLE_5 = [
    *("www.example A", "unknown.home.example A", "a.bind A", "a.test A"),
    *("use-application-dns.net A", "a.use-application-dns.net AAAA", "www.lan A"),
]
DEBIAN_UNBOUND = [
    *(
        "nas.home.example A",
        "nas.home.example AAAA",
        "nas.home.example MX",
        "info.home.example TXT",
    ),
    *("unknown.home.example A", "NAS.Home.example A", "10.1.168.192.in-addr.arpa PTR"),
    *("11.1.168.192.in-addr.arpa PTR", "tracker.example A", "a.tracker.example AAAA"),
    *("ads.example A", "a.b.ads.example AAAA", "shop.example A", "a.b.shop.example A"),
    *("shop.example AAAA", "a.shop.example MX", "www.example A", "corp.example A"),
    *(
        "www.corp.example A",
        "localhost A",
        "localhost AAAA",
        "a.invalid A",
        "a.onion A",
        "a.test A",
    ),
    *(
        "1.0.0.127.in-addr.arpa PTR",
        "5.5.168.192.in-addr.arpa PTR",
        "a.home.arpa A",
        "rebind.example A",
    ),
]


def all_of(peer: Peer | Fastdns, questions: list[str]) -> dict[str, tuple[int, list[str]]]:
    return {one: gist(ask(peer, *one.split(" "))) for one in questions}


def differences(
    ours: dict[str, tuple[int, list[str]]], theirs: dict[str, tuple[int, list[str]]]
) -> dict[str, object]:
    return {one: (answer, theirs[one]) for one, answer in ours.items() if answer != theirs[one]}


@pytest.mark.parametrize("sample", ["openwrt", "pi-hole-5"])
def test_dnsmasq(
    tmp_path: Path,
    upstreams: Upstreams,
    start_peer: Callable[..., Peer],
    start_fastdns: Callable[..., Fastdns],
    sample: str,
) -> None:
    def here(text: str) -> str:
        return ROUTER.sub(rf"\g<1>127.0.0.1#{upstreams.corp.port}", upstreams.put_into(text))

    for_fastdns = copy_of(sample, tmp_path / "fastdns", here)
    for_dnsmasq = copy_of(sample, tmp_path / "dnsmasq", lambda text: NOT_OF_DNS.sub("", here(text)))
    main = for_dnsmasq / "dnsmasq.conf"  # its program leaves the directory before it reads hosts
    main.write_text(main.read_text().replace("addn-hosts=", f"addn-hosts={for_dnsmasq}/"))
    with open(for_fastdns / "dnsmasq.conf", "a") as file:
        file.write("no-hosts\n")
    daemon = start_fastdns(config=converted(for_fastdns / "dnsmasq.conf"))
    port = port_of_peer()
    peer = start_peer(
        "dnsmasq",
        *("--keep-in-foreground", f"--conf-file={main}", "--pid-file="),
        *("--user=", "--log-facility=-", "--no-hosts", f"--port={port}", "--bind-interfaces"),
        "--listen-address=127.0.0.1",
        port=port,
        directory=for_dnsmasq,
    )

    questions = OPENWRT if sample == "openwrt" else PI_HOLE_5
    answers = all_of(daemon, questions)

    expected = all_of(peer, questions)
    assert differences(answers, expected) == {}


def test_leases_of_dnsmasq_keep_their_names(
    tmp_path: Path, upstreams: Upstreams, start_fastdns: Callable[..., Fastdns]
) -> None:
    sample = copy_of("openwrt", tmp_path, upstreams.put_into)
    daemon = start_fastdns(config=converted(sample / "dnsmasq.conf"))

    assert gist(ask(daemon, "laptop.lan")) == (0, ["laptop.lan. a 192.168.1.140"])
    assert gist(ask(daemon, "laptop")) == (0, ["laptop. a 192.168.1.140"])


def test_unbound(
    tmp_path: Path,
    upstreams: Upstreams,
    start_peer: Callable[..., Peer],
    start_fastdns: Callable[..., Fastdns],
) -> None:
    sample = copy_of("debian-unbound", tmp_path, upstreams.put_into)
    daemon = start_fastdns(config=converted(sample / "unbound.conf"))
    for name in ("remote-control", "root-auto-trust-anchor-file"):
        (sample / "unbound.conf.d" / f"{name}.conf").unlink()
    home = sample / "unbound.conf.d" / "home.conf"
    port = port_of_peer()
    home.write_text(
        home.read_text()
        .replace("interface: 0.0.0.0", f"interface: 127.0.0.1@{port}")
        .replace("interface: ::0", "do-not-query-localhost: no")
    )
    (sample / "unbound.conf").write_text(
        f'include-toplevel: "{home}"\nserver:\nusername: ""\nchroot: ""\ndirectory: "{sample}"\n'
        'pidfile: ""\nuse-syslog: no\nmodule-config: "iterator"\n'
    )
    peer = start_peer(
        "unbound", "-d", "-c", str(sample / "unbound.conf"), port=port, directory=sample
    )

    answers = all_of(daemon, DEBIAN_UNBOUND)

    expected = all_of(peer, DEBIAN_UNBOUND)
    assert differences(answers, expected) == {}
