"""Leases of DHCP servers: which clients have which address and name. Samples are in tests/leases.

All samples have clients whose lease ends on 2 January 2026 at 03:04:05 UTC.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from fastdns.policy.leases import FORMATS, files_beside, format_of, read_leases, usual_places
from fastdns.policy.leases.lease import Lease, WrongLine, is_top_level, packed

SAMPLES = Path(__file__).parent.parent / "leases"
END = 1767323045
FORMAT_OF = {
    "dnsmasq.leases": "dnsmasq",
    "dnsmasq-without-a-clock.leases": "dnsmasq",
    "kea4.csv": "kea",
    "kea6.csv": "kea",
    "dhcpd.leases": "isc",
    "dhcpd-released.leases": "isc",
    "dhcpd6.leases": "isc",
    "odhcpd": "odhcpd",
    "odhcpd.hosts.br-lan": "odhcpd",
    "networkd.json": "networkd",
    "virbr0.status": "libvirt",
}


def read(sample: str, *beside: str, name: str = "") -> list[tuple[str, str, float | None]]:
    """Return the name, address and end of each lease in a sample."""
    text = (SAMPLES / sample).read_text()
    found = read_leases(
        name or format_of(text), text, [(SAMPLES / one).read_text() for one in beside]
    )
    return [
        (one.name, str(ip_address(one.address)), one.expires)
        for one in found
        if isinstance(one, Lease)
    ]


@pytest.mark.parametrize(("sample", "name"), FORMAT_OF.items())
def test_content_tells_the_format(sample: str, name: str) -> None:
    assert format_of((SAMPLES / sample).read_text()) == name


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "workers = 2\n", "hello world\n"])
def test_other_content_has_no_format(text: str) -> None:
    assert format_of(text) == ""


def test_dnsmasq_has_clients_of_both_families() -> None:
    assert read("dnsmasq.leases") == [
        ("laptop", "192.168.1.20", END),
        ("printer", "192.168.1.22", None),
        ("laptop", "fd00::20", END),
        ("phone", "fd00::21", END),
    ]


def test_dnsmasq_without_a_clock_writes_no_end() -> None:
    assert read("dnsmasq-without-a-clock.leases") == [("laptop", "192.168.1.20", None)]


@pytest.mark.parametrize(
    ("sample", "name", "macs"),
    [
        ("dnsmasq.leases", "laptop", {"aa:bb:cc:dd:ee:01", None}),  # IPv6: an IAID stands there
        ("kea4.csv", "printer", {"aa:bb:cc:dd:ee:03"}),
        ("dhcpd.leases", "printer", {"aa:bb:cc:dd:ee:03"}),
        ("odhcpd", "laptop", {"aa:bb:cc:dd:ee:01", None}),
        ("virbr0.status", "laptop", {"52:54:00:00:00:01"}),
    ],
)
def test_lease_has_the_hardware_address_of_its_client(
    sample: str, name: str, macs: set[str | None]
) -> None:
    text = (SAMPLES / sample).read_text()
    found = [one for one in read_leases(format_of(text), text, []) if isinstance(one, Lease)]
    assert {one.mac and one.mac.hex(":") for one in found if one.name == name} == macs


def test_kea_counts_the_last_entry_of_an_address() -> None:
    assert read("kea4.csv") == [
        ("printer", "192.168.1.22", None),
        ("laptop.lan.", "192.168.1.20", END),
    ]


def test_kea_gives_no_name_to_a_delegated_prefix() -> None:
    assert read("kea6.csv") == [("laptop.lan.", "fd00::20", END), ("phone", "fd00::21", END)]


def test_kea_reads_first_what_its_cleanup_has_left() -> None:
    assert read("kea6.csv", "kea4.csv") == read("kea4.csv") + read("kea6.csv")
    assert read("kea4-released.csv", "kea4.csv") == []


def test_kea_has_the_files_of_its_cleanup_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "kea-leases4.csv"
    assert [one.name for one in files_beside(file, "kea")] == [
        *("kea-leases4.csv.2", "kea-leases4.csv.1")
    ]

    (tmp_path / "kea-leases4.csv.completed").touch()

    assert [one.name for one in files_beside(file, "kea")] == ["kea-leases4.csv.completed"]


def test_isc_counts_the_last_entry_of_an_address() -> None:
    assert read("dhcpd.leases") == [
        ("printer", "192.168.1.21", None),
        ("laptop", "192.168.1.20", END),
        ("phone", "192.168.1.23", END),
    ]


def test_isc_tells_the_names_of_ipv6_in_its_updates_of_dns() -> None:
    assert read("dhcpd6.leases") == [("laptop.lan", "fd00::20", END)]


def test_odhcpd_tells_ends_in_its_state_and_else_only_names() -> None:
    assert read("odhcpd") == [
        ("laptop", "fd00::20", END),
        ("laptop", "2001:db8::20", END),
        ("laptop", "192.168.1.20", None),
    ]
    assert read("odhcpd.hosts.br-lan") == [
        ("laptop.lan", "192.168.1.20", None),
        ("laptop", "fd00::20", None),
        ("phone", "192.168.1.21", None),
    ]


def test_networkd_has_clients_with_and_without_an_end() -> None:
    assert read("networkd.json") == [
        ("laptop", "192.168.1.20", END),
        ("printer", "192.168.1.22", None),
    ]


def test_libvirt_names_a_guest_that_tells_no_name_by_its_domain() -> None:
    assert read("virbr0.status") == [
        ("laptop", "192.168.122.20", END),
        ("laptop", "fd00::20", END),
    ]
    assert read("virbr0.status", "virbr0.macs") == [
        ("laptop", "192.168.122.20", END),
        ("web", "192.168.122.21", END),
        ("laptop", "fd00::20", END),
    ]


def test_libvirt_without_guests_is_an_empty_file() -> None:
    assert read_leases("libvirt", "", [""]) == []


@pytest.mark.parametrize(
    "sample", ["dnsmasq-cut-off.leases", "kea4-cut-off.csv", "dhcpd-cut-off.leases"]
)
def test_what_is_still_being_written_is_left_out(sample: str) -> None:
    assert read(sample) == [("laptop", "192.168.1.20", END)]


@pytest.mark.parametrize(
    ("sample", "name"),
    [("networkd-cut-off.json", "networkd"), ("virbr0-cut-off.status", "libvirt")],
)
def test_json_that_is_cut_off_is_refused(sample: str, name: str) -> None:
    with pytest.raises(ValueError, match="line"):
        read(sample, name=name)


@pytest.mark.parametrize("sample", ["kea4-released.csv", "dhcpd-released.leases"])
def test_client_that_has_given_its_address_back_has_no_name(sample: str) -> None:
    assert read(sample) == []


def test_lines_that_are_no_leases_are_left_out() -> None:
    assert read("dnsmasq-garbage.leases") == [("laptop", "192.168.1.20", END)]


def test_wrong_lines_of_dnsmasq_are_told_and_leases_know_their_lines() -> None:
    text = (
        "duid 00:01\nhello world\n0 aa 192.168.1.300 tv *\n\n0 aa 192.168.1.20 * *\n"
        "0 aa 192.168.1.21 phone *\n0 aa 192.168"
    )
    assert read_leases("dnsmasq", text, []) == [
        WrongLine(2, "hello world"),
        WrongLine(3, "0 aa 192.168.1.300 tv *"),
        Lease("phone", bytes((192, 168, 1, 21)), None, 6),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dnsmasq", "9" * 5000 + " aa 192.168.1.20 laptop *\n"),
        ("isc", "lease 192.168.1.20 {\n ends 5 2026/99/99 99:99:99;\n}\n"),
        ("isc", f"lease 192.168.1.20 {{\n ends 5 {'9' * 5000}/01/01 00:00:00;\n}}\n"),
        ("odhcpd", f"# br-lan aa ipv4 laptop {'9' * 5000} 0 32 192.168.1.20/32\n"),
        ("kea", f"address,valid_lifetime,expire,hostname\n192.168.1.20,1,{'9' * 5000},laptop\n"),
    ],
)
def test_times_that_are_none_are_no_leases(name: str, text: str) -> None:
    assert not any(isinstance(one, Lease) for one in read_leases(name, text, []))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kea", f"address,valid_lifetime,expire,hostname\n192.168.1.20,1,{'9' * 400},laptop\n"),
        (
            "libvirt",
            f'[{{"ip-address": "192.168.1.20", "hostname": "x", "expiry-time": {"9" * 400}}}]',
        ),
    ],
)
def test_lease_that_ends_after_all_time_never_ends(name: str, text: str) -> None:
    assert [one.expires for one in read_leases(name, text, [])] == [None]


@pytest.mark.parametrize("name", FORMATS)
def test_any_text_is_read(name: str) -> None:
    for sample in SAMPLES.iterdir():
        text = sample.read_text()
        for cut in range(0, len(text), 97):
            for part in (text[:cut], text[cut:], text[:cut] + "\0\ufffd}{" + text[cut:]):
                try:
                    read_leases(name, part, [])
                except ValueError:
                    assert name in ("networkd", "libvirt")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("laptop", "laptop"),
        ("Anna-s-Phone", "anna-s-phone"),
        ("android_1234", "android_1234"),
        ("laptop.lan.", "laptop"),
        ("laptop.evil.example", "laptop"),
        ("a" * 63, "a" * 63),
        ("a" * 64, ""),
        ("", ""),
        (".lan", ""),
        ("-x", ""),
        ("x-", ""),
        ("_dmarc", ""),
        ("*", ""),
        ("a b", ""),
        ("a\0b", ""),
        ("näs", ""),
        ("wpad", ""),
        ("WPAD.lan", ""),
        ("isatap", ""),
        ("localhost", ""),
        ("evil\nlabel", ""),
    ],
)
def test_client_may_have_one_label_that_is_a_host_name(name: str, label: str) -> None:
    assert Lease(name, b"\xc0\0\2\1", None).label == label


def test_name_that_may_be_a_domain_of_the_internet_is_known() -> None:
    assert all(map(is_top_level, ("com", "tv", "arpa", "xn--p1ai", "local")))
    assert not any(map(is_top_level, ("laptop", "nas", "pi4")))


def test_lease_is_over_at_its_end() -> None:
    lease = Lease("laptop", b"\xc0\0\2\1", 100.0)

    assert [lease.is_over(now) for now in (99.9, 100.0)] == [False, True]
    assert not Lease("laptop", b"\xc0\0\2\1", None).is_over(1e12)


def test_of_two_leases_the_one_that_ends_later_is_newer() -> None:
    early, late, endless = (Lease("x", b"\xc0\0\2\1", end) for end in (100.0, 200.0, None))

    assert late.outlasts(early)
    assert not early.outlasts(late)
    assert endless.outlasts(late)
    assert not endless.outlasts(endless)


def test_address_is_read_as_it_is() -> None:
    assert packed("192.0.2.1") == bytes([192, 0, 2, 1])
    assert packed("fd00::1") == ip_address("fd00::1").packed
    assert [packed(one) for one in ("", "x", "192.0.2", "1\0", "::x")] == [None] * 5


def test_usual_places_are_below_the_root(tmp_path: Path) -> None:
    places = dict(usual_places(tmp_path))
    assert places[tmp_path / "var/lib/misc/dnsmasq.leases"] == "dnsmasq"
    assert not any(path.is_relative_to(tmp_path / "tmp") for path in places)

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/openwrt_release").touch()

    assert dict(usual_places(tmp_path))[tmp_path / "tmp/dhcp.leases"] == "dnsmasq"
