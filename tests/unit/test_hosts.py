"""Hosts files: which names have which addresses, and what is wrong with other lines."""

from __future__ import annotations

import gc
import threading
import time
from ipaddress import ip_address

import dns.name
import dns.reversename
import pytest

from fastdns._hosts import read_hosts, reverse_of
from fastdns._local import LocalBuilder, LocalRecords
from fastdns.config.names import parse_name

LAN = parse_name("lan")
A, PTR, AAAA = 1, 12, 28


def read(text: str | bytes, domain: bytes = b"") -> tuple[LocalRecords, int, list[str]]:
    """Return the records, how many lines are wrong, and the first of these as they are told."""
    builder = LocalBuilder()
    octets = text if isinstance(text, bytes) else text.encode()
    _, wrong, problems = read_hosts(octets, builder, 3, domain, 10)
    return builder.compile(), wrong, [f"{line}: {part!r} {what}" for line, part, what in problems]


def addresses(local: LocalRecords, name: str) -> list[str]:
    """Return the addresses of a name, or the names of an address in reverse."""
    found = local.find(parse_name(name))
    if found is None:
        return []
    return [
        str(dns.name.from_wire(data, 0)[0]) if rtype == PTR else str(ip_address(data))
        for rtype, _, data, _ in found[2]
    ]


def names(local: LocalRecords, address: str) -> list[str]:
    return addresses(local, str(dns.reversename.from_address(address)))


def test_byte_order_mark_before_any_line_is_skipped() -> None:
    mark = "\ufeff"  # a file that others were joined to has several
    local, wrong, _ = read(f"{mark}{mark}192.168.1.10 nas\n{mark}192.168.1.11 tv\n{mark}")

    assert addresses(local, "nas") == ["192.168.1.10"]
    assert addresses(local, "tv") == ["192.168.1.11"]
    assert wrong == 0


def test_name_of_several_lines_counts_once() -> None:
    builder = LocalBuilder()
    builder.add(parse_name("nas"), A, 60, bytes(4), 0)
    text = b"192.168.1.10 nas nas files\nfd00::10 nas files\n192.168.1.11 tv\n"

    assert read_hosts(text, builder, 3, LAN, 10)[0] == 3
    assert read_hosts(text, builder, 4, LAN, 10)[1] == 0


def test_line_gives_all_its_names_an_address_and_the_first_is_that_of_the_address() -> None:
    local, wrong, _ = read("192.168.1.10 nas.example files.example\n2001:db8::10 nas.example\n")

    assert addresses(local, "nas.example") == ["192.168.1.10", "2001:db8::10"]
    assert addresses(local, "files.example") == ["192.168.1.10"]
    assert names(local, "192.168.1.10") == ["nas.example."]
    assert names(local, "2001:db8::10") == ["nas.example."]
    assert wrong == 0


def test_record_lives_for_a_minute_and_knows_its_line() -> None:
    local, _, _ = read("\n# nothing\n192.168.1.10 nas\n")

    assert local.find(parse_name("nas")) == (
        *(1, False),
        [(A, 60, bytes([192, 168, 1, 10]), 3 << 24 | 3)],
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("192.168.1.10 nas", "nas.lan"),
        ("192.168.1.10 nas nas.example", "nas.lan"),
        ("192.168.1.10 nas.example nas", "nas.lan"),
        ("192.168.1.10 nas.example nas.lan nas", "nas.lan"),
        ("192.168.1.10 other.lan nas", "other.lan"),
        ("192.168.1.10 nas.example", "nas.example"),
    ],
)
def test_address_has_the_name_under_the_domain_in_reverse(line: str, name: str) -> None:
    local, _, _ = read(line, LAN)

    assert names(local, "192.168.1.10") == [f"{name}."]


def test_host_is_found_by_its_name_alone_and_under_the_domain() -> None:
    local, _, _ = read("192.168.1.10 nas printer.example\n", LAN)

    assert addresses(local, "nas") == addresses(local, "nas.lan") == ["192.168.1.10"]
    assert addresses(local, "printer.example") == ["192.168.1.10"]
    assert addresses(local, "printer.example.lan") == []


def test_address_on_several_lines_has_the_name_of_the_first_in_reverse() -> None:
    local, _, _ = read("192.168.1.10 nas\n192.168.1.10 files\n")

    assert names(local, "192.168.1.10") == ["nas."]
    assert addresses(local, "files") == ["192.168.1.10"]


def test_reverse_name_that_is_there_already_stays() -> None:
    builder = LocalBuilder()
    reverse = reverse_of(bytes([192, 168, 1, 10]))
    builder.add(reverse, PTR, 60, parse_name("storage.lan"), 0)

    read_hosts(b"192.168.1.10 nas\n", builder, 1, b"", 10)

    assert names(builder.compile(), "192.168.1.10") == ["storage.lan."]


@pytest.mark.parametrize(
    "text",
    [
        b"192.168.1.10 nas\r\n192.168.1.11 printer\r\n",
        b"\xef\xbb\xbf192.168.1.10 nas\n192.168.1.11 printer",
        b"192.168.1.10\tnas\n\t 192.168.1.11 \t printer\t\n",
        b"192.168.1.10 NAS # of the attic\n192.168.1.11 Printer#2\n",
        b"192.168.1.10 nas.\n192.168.1.11 printer.\n",
        b"#192.168.1.9 nas\n\n   \n192.168.1.10 nas\n192.168.1.11 printer\n",
        b"192.168.1.10 nas nas\n192.168.1.11 printer\n192.168.1.11 printer\n",
    ],
)
def test_what_editors_and_systems_make_of_a_file_changes_nothing(text: bytes) -> None:
    local, wrong, _ = read(text)

    assert addresses(local, "nas") == ["192.168.1.10"]
    assert addresses(local, "printer") == ["192.168.1.11"]
    assert (local.records, wrong) == (4, 0)


def test_the_file_of_debian_names_only_other_hosts() -> None:
    local, wrong, _ = read(
        "127.0.0.1\tlocalhost\n127.0.1.1\trouter.lan router\n\n"
        "::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n"
        "ff02::2 ip6-allrouters\nfe00::0 ip6-localnet\n192.168.1.10 nas\n",
        LAN,
    )

    assert (local.count, wrong) == (3, 0)
    assert addresses(local, "nas.lan") == ["192.168.1.10"]


def test_blocked_names_have_their_addresses_and_these_have_no_name() -> None:
    local, wrong, _ = read(
        "127.0.0.1 localhost.localdomain local\n255.255.255.255 broadcasthost\n"
        "0.0.0.0 0.0.0.0\n0.0.0.0 ads.example\n127.0.0.1 tracker.example\n:: ads.example\n"
    )

    assert addresses(local, "ads.example") == ["0.0.0.0", "::"]
    assert addresses(local, "tracker.example") == ["127.0.0.1"]
    for address in ("0.0.0.0", "127.0.0.1", "::"):
        assert names(local, address) == []
    assert wrong == 0


def test_address_with_a_scope_is_left_out() -> None:
    local, wrong, _ = read("fe80::1%eth0 router\nfe80::2%3 nas\n192.168.1.1 router\n")

    assert addresses(local, "router") == ["192.168.1.1"]
    assert (local.count, wrong) == (2, 0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("192.168.1.300 nas", "'192.168.1.300' is not an IP address"),
        ("192.168.001.010 nas", "'192.168.001.010' is not an IP address"),
        ("nas 192.168.1.10", "'nas' is not an IP address"),
        ("192.168.1.10/24 nas", "'192.168.1.10/24' is not an IP address"),
        ("50% nas", "'50%' is not an IP address"),
        ("192.168.1.10", "'192.168.1.10' has no name behind the address"),
        ("192.168.1.10 # nas", "'192.168.1.10' has no name behind the address"),
        ("192.168.1.10 na/s", "'na/s' is not a domain"),
        ("192.168.1.10 a..b", "'a..b' has an empty label (two dots in a row)"),
        ("192.168.1.10 n\u00e4s", "'n\u00e4s' is not in ASCII (write its A-labels, xn--…)"),
        (f"192.168.1.10 {'a' * 64}", f"'{'a' * 64}' has a label of more than 63 bytes"),
        (f"192.168.1.10 {'a.' * 130}", f"'{'a.' * 50}' has more than 255 bytes"),
    ],
)
def test_wrong_line_is_told_and_the_others_are_read(line: str, problem: str) -> None:
    local, wrong, problems = read(f"192.168.1.1 router\n{line}\n192.168.1.2 nas2 nas3\n")

    assert problems == [f"2: {problem}"]
    assert wrong == 1
    assert local.records == 5


def test_other_names_of_a_line_with_a_wrong_one_are_read() -> None:
    local, wrong, _ = read("192.168.1.10 good ba/d also\n")

    assert addresses(local, "good") == addresses(local, "also") == ["192.168.1.10"]
    assert wrong == 1


def test_only_the_first_wrong_lines_are_told_and_all_are_counted() -> None:
    _, wrong, problems = read("not an address\n" * 1000)

    assert wrong == 1000
    assert len(problems) == 10


def test_any_octets_are_read() -> None:
    text = bytes(range(256)) * 50

    for start in range(0, 256, 7):
        read(text[start:], LAN)
        read(b"192.0.2.1 " + text[start:], LAN)
        read(b"192.0.2.1 " + text.replace(b"\n", b"")[start:], LAN)


def test_name_that_is_too_long_under_the_domain_is_found_alone() -> None:
    domain = parse_name(".".join(["a" * 63] * 3))

    local, _, _ = read(f"192.168.1.10 {'n' * 63}\n", domain)

    assert addresses(local, "n" * 63) == ["192.168.1.10"]
    assert local.count == 2


@pytest.mark.parametrize("address", ["192.0.2.1", "10.200.30.255", "0.0.0.0", "2001:db8::fe"])
def test_address_has_the_name_in_reverse_that_dnspython_gives_it(address: str) -> None:
    assert reverse_of(ip_address(address).packed) == dns.reversename.from_address(address).to_wire()


@pytest.fixture
def many_lines() -> bytes:
    return b"".join(
        b"10.%d.%d.%d host%d.example.com\n" % (i >> 16, i >> 8 & 255, i & 255, i)
        for i in range(100_000)
    )


def test_hundred_thousand_lines_take_well_under_a_second(many_lines: bytes) -> None:
    builder = LocalBuilder()
    gc.collect()
    began = time.process_time()

    read_hosts(many_lines, builder, 0, LAN, 10)
    local = builder.compile()

    assert time.process_time() - began < 0.4  # 0.08 s alone on the machine
    assert local.records == 200_000
    assert addresses(local, "host99999.example.com") == ["10.1.134.159"]


def test_other_threads_go_on_while_a_large_file_is_read(many_lines: bytes) -> None:
    builder = LocalBuilder()
    thread = threading.Thread(target=read_hosts, args=(many_lines, builder, 0, LAN, 10))
    turns = 0

    thread.start()
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)

    assert turns > 5
