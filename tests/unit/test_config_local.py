"""`[local]`: records, hosts files, leases, and what is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns.config.load import load
from fastdns.config.records import Problem, parse_record, read_records
from fastdns.config.render import render
from fastdns.config.schema import Config, Local
from fastdns.config.values import NO_DOMAIN, Domain, LeaseFile, Record, RecordFile
from fastdns.errors import ConfigErrors

EVERY_KEY = r"""
[local]
domain = "Lan."
hosts = ["/etc/hosts", "file:/srv/more.hosts"]
records = [
    "nas.lan. 300 A 192.168.1.10",
    "*.dev.lan 1h IN TXT \"a;b\" \"c d\"",
    "file:/srv/lan.zone",
]
leases = ["auto", "/srv/leases", "kea:/srv/leases.csv", "/srv/leases.d/*.status"]
ask_upstream = ["home.arpa", "168.192.in-addr.arpa"]
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[str], Config]:
    """Load a configuration from its text."""

    def load_text(text: str) -> Config:
        path = tmp_path / "fastdns.toml"
        path.write_text(text)
        return load(path, state=tmp_path / "state")

    return load_text


@pytest.fixture
def refused(loaded: Callable[[str], Config], tmp_path: Path) -> Callable[[str], list[str]]:
    """Load a wrong configuration from its text; gives the lines without the name of the file."""

    def refuse_text(text: str) -> list[str]:
        with pytest.raises(ConfigErrors) as errors:
            loaded(text)
        return [line.removeprefix(f"{tmp_path}/fastdns.toml: ") for line in errors.value.lines]

    return refuse_text


def test_every_key_is_read(loaded: Callable[[str], Config]) -> None:
    local = loaded(EVERY_KEY).local

    assert local.domain == Domain("lan", b"\x03lan\0")
    assert local.domain.wire == b"\x03lan\0"
    assert local.hosts == (Path("/etc/hosts"), Path("/srv/more.hosts"))
    nas, text, file = local.records
    assert isinstance(nas, Record)
    assert (nas.name, nas.rtype, nas.ttl, nas.data) == (
        *(b"\x03nas\x03lan\0", 1, 300),
        bytes([192, 168, 1, 10]),
    )
    assert isinstance(text, Record)
    assert (text.name, text.rtype, text.ttl, text.data) == (
        *(b"\x01*\x03dev\x03lan\0", 16, 3600),
        b"\x03a;b\x03c d",
    )
    assert file == RecordFile(Path("/srv/lan.zone"))
    assert local.leases == (
        "auto",
        LeaseFile(Path("/srv/leases")),
        LeaseFile(Path("/srv/leases.csv"), "kea"),
        LeaseFile(Path("/srv/leases.d/*.status")),
    )
    assert [one.text for one in local.ask_upstream] == ["home.arpa", "168.192.in-addr.arpa"]


def test_what_check_prints_is_the_same_configuration(loaded: Callable[[str], Config]) -> None:
    config = loaded(EVERY_KEY)

    assert loaded(render(config)) == config


def test_without_the_table_there_are_no_local_names(loaded: Callable[[str], Config]) -> None:
    assert loaded("").local == Local(NO_DOMAIN, (), (), (), ())


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (
            'records = ["a.lan. A 192.168.1.1", "nas.lan. A 192.168.1.300"]',
            'records[1]: "nas.lan. A 192.168.1.300": "192.168.1.300" is not the data of a record '
            'of type A (try "nas.lan. A 192.168.1.10")',
        ),
        (
            'records = ["nas.lan 192.168.1.10"]',
            'records[0]: "nas.lan 192.168.1.10": "192.168.1.10" is not a type of records '
            '(try "nas.lan A 192.168.1.10")',
        ),
        (
            'records = ["nas.lan. 300"]',
            'records[0]: "nas.lan. 300": the type is missing (try "nas.lan. A 192.168.1.10")',
        ),
        (
            'records = ["nas.lan. CH TXT x"]',
            'records[0]: "nas.lan. CH TXT x": the class of a local record is IN',
        ),
        ('records = ["a ANY x"]', 'records[0]: "a ANY x": no record has the type ANY'),
        (
            'records = [""]',
            'records[0]: "" is not one record (try "nas.lan. 300 A 192.168.1.10")',
        ),
        (
            'records = ["a A 192.0.2.1\\nb A 192.0.2.2"]',
            'records[0]: "a A 192.0.2.1\\u000ab A 192.0.2.2" is not one record '
            '(try "nas.lan. 300 A 192.168.1.10")',
        ),
        (
            'records = ["a..lan A 192.0.2.1"]',
            'records[0]: "a..lan." has an empty label (two dots in a row)',
        ),
        (
            'records = ["a 9999999999 A 192.0.2.1"]',
            'records[0]: "9999999999" is not a TTL (at most 2147483647 seconds)',
        ),
        (
            "records = [7]",
            'records[0]: 7 is not a record in quotes (try "nas.lan. A 192.168.1.10")',
        ),
        (
            'records = ["x.lan A 192.0.2.1", "w.lan. CNAME W.lan."]',
            'records[1]: "w.lan. CNAME W.lan." leads back to itself (end it at a name with an '
            "address)",
        ),
        (
            'records = ["w.lan. CNAME nas.lan.", "W.lan A 192.0.2.1"]',
            'records[1]: "W.lan A 192.0.2.1": a name with a CNAME record has no others '
            "(leave one out)",
        ),
        ('hosts = ["~/hosts"]', 'hosts: "~/hosts" is not an absolute path (begin it with /)'),
        (
            'records = ["nas.lan A"]',
            'records[0]: "nas.lan A": the data of type A is missing',
        ),
        (
            'records = ["p.lan. TXTT hello"]',
            'records[0]: "p.lan. TXTT hello": "TXTT" is not a type of records (did you mean TXT?)',
        ),
        (
            'records = ["nas.lan 192.168.1.9"]',
            'records[0]: "nas.lan 192.168.1.9": "192.168.1.9" is not a type of records '
            '(try "nas.lan A 192.168.1.9")',
        ),
        (
            'records = ["x.lan CAA 0 issue"]',
            'records[0]: "x.lan CAA 0 issue": "0 issue" is not the data of a record of type CAA '
            "(something is missing)",
        ),
        (
            'records = ["192.168.1.10 PTR nas.lan"]',
            'records[0]: "192.168.1.10 PTR nas.lan": "192.168.1.10" is an address '
            '(try "10.1.168.192.in-addr.arpa. PTR nas.lan")',
        ),
        (
            'records = ["192.168.1.10 nas.lan"]',
            'records[0]: "192.168.1.10 nas.lan": "192.168.1.10" is an address '
            '(try "nas.lan A 192.168.1.10")',
        ),
        (
            'domain = "lan lan"',
            'domain: "lan lan" has a space, so it is not one domain (put each domain in quotes)',
        ),
        (
            'ask_upstream = ["192.168.0.0/16"]',
            'ask_upstream: "192.168.0.0/16" has addresses, not names '
            '(for their reverse names write "168.192.in-addr.arpa")',
        ),
        (
            'hosts = ["/etc/hosts", "/etc/hosts"]',
            'hosts: "/etc/hosts" is listed more than once (keep one)',
        ),
        ('domain = "."', 'domain: "." would be all names (try "lan")'),
        ('domain = "a..b"', 'domain: "a..b" has an empty label (two dots in a row)'),
        (
            'domain = "file:/lan"',
            'domain: "file:/lan" is not a domain in quotes (try "lan")',
        ),
        ('leases = ["auto", "auto"]', 'leases: "auto" is listed more than once (keep one)'),
        (
            'leases = ["dnsmasq"]',
            'leases: "dnsmasq" lacks its file (try "dnsmasq:/PATH" or "auto")',
        ),
        (
            'leases = ["dnsmask:/srv/leases"]',
            'leases: "dnsmask" is not one of "dnsmasq", "isc", "kea", "libvirt", "networkd", '
            '"odhcpd" (did you mean "dnsmasq"?)',
        ),
        (
            'leases = ["/srv/*/leases"]',
            'leases: "/srv/*/leases": only the last part of a path may be a pattern',
        ),
        (
            'ask_upstream = ["*.home.arpa"]',
            'ask_upstream: "*.home.arpa": a domain covers all names under it anyway '
            '(write "home.arpa")',
        ),
    ],
)
def test_wrong_value_is_named_with_its_place(
    refused: Callable[[str], list[str]], setting: str, line: str
) -> None:
    assert refused(f"[local]\n{setting}\n") == [f"local.{line}"]


def test_several_wrong_records_are_named_at_once(refused: Callable[[str], list[str]]) -> None:
    lines = refused('[local]\nrecords = ["a", "b A 192.0.2.1", "c"]\ndomian = "lan"\n')

    assert [line.split(": ")[0] for line in lines] == [
        *("local.records[0]", "local.records[2]", "local.domian")
    ]


@pytest.mark.parametrize("key", ["records", "hosts", "leases"])
def test_key_outside_the_table_is_answered_with_its_place(
    refused: Callable[[str], list[str]], key: str
) -> None:
    assert refused(f"{key} = []\n") == [f"{key}: is not a known key (did you mean local.{key}?)"]


@pytest.mark.parametrize(
    ("text", "ttl", "rtype"),
    [
        ("x A 192.0.2.1", 60, 1),
        ("x 0 A 192.0.2.1", 0, 1),
        ("x IN 1h30m A 192.0.2.1", 5400, 1),
        ("x 1W in a 192.0.2.1", 604800, 1),
        ("x MX 10 mail.lan.", 60, 15),
        ("x TYPE1234 \\# 2 abcd", 60, 1234),
        ("x HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1", 60, 65),
        ("x SOA ns.lan. hostmaster.lan. ( 1 2 3 4 5 )", 60, 6),
        ("x A 192.0.2.1 ; a comment", 60, 1),
    ],
)
def test_ttl_and_class_may_be_left_out(text: str, ttl: int, rtype: int) -> None:
    record = parse_record(text)

    assert (record.name, record.ttl, record.rtype) == (b"\x01x\0", ttl, rtype)


def test_file_has_comments_origins_and_continued_names() -> None:
    text = (
        "; of the house\n$TTL 2h\n$ORIGIN lan.\n\nnas A 192.168.1.10\n  TXT x\r\n"
        "# also a comment\n@ MX 10 mail\n$ORIGIN dev ; below lan\nweb 5 CNAME nas.lan.\n"
    )

    found = [
        (line, record.name, record.rtype, record.ttl, record.data)
        for line, record in read_records(text)  # type: ignore[misc]
    ]

    assert found == [
        (5, b"\x03nas\x03lan\0", 1, 7200, bytes([192, 168, 1, 10])),
        (6, b"\x03nas\x03lan\0", 16, 7200, b"\x01x"),
        (8, b"\x03lan\0", 15, 7200, b"\0\x0a\x04mail\x03lan\0"),
        (10, b"\x03web\x03dev\x03lan\0", 5, 5, b"\x03nas\x03lan\0"),
    ]


def test_wrong_lines_of_a_file_are_told_and_the_others_are_read() -> None:
    text = "a A 192.0.2.1\n$INCLUDE other\nb A 192.0.2\n$ORIGIN a..b\nc A 192.0.2.3\nx SOA (\n"

    problems = [one for one in read_records(text) if isinstance(one, Problem)]

    assert [one.line for one in problems] == [2, 3, 4, 6]
    assert problems[0].reason == '"$INCLUDE other" is not a directive (try $ORIGIN lan. or $TTL 1h)'
    assert len(list(read_records(text))) == 6


def test_dnspython_is_not_imported_without_records(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text('[local]\ndomain = "lan"\nhosts = ["/etc/hosts"]\nleases = ["auto"]\n')
    code = (
        "import sys, pathlib\nfrom fastdns.config.load import load\n"
        f"load(pathlib.Path({str(file)!r}))\nprint('dns' in sys.modules)"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "False\n"


def test_each_record_of_a_loop_is_named_and_a_chain_into_it_is_not(
    refused: Callable[[str], list[str]],
) -> None:
    records = '"a.lan CNAME b.lan", "b.lan CNAME c.lan", "c.lan CNAME b.lan"'
    told = refused(f"[local]\nrecords = [{records}]")
    assert [line.partition(":")[0] for line in told] == ["local.records[1]", "local.records[2]"]


def test_dnspython_that_cannot_be_read_is_named(
    refused: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dns.rdatatype", None)
    (line,) = refused('[local]\nrecords = ["nas.lan A 192.0.2.1"]')
    assert line.startswith("local.records[0]: records need dnspython")
    assert "install python3-dnspython" in line
