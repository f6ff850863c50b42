"""[block] and [[view]]: their values, and what is wrong with others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastdns.config.block_lists import parse_list
from fastdns.config.domains import parse_domain
from fastdns.config.hours import DAY, parse_hours
from fastdns.config.load import load
from fastdns.config.render import render
from fastdns.config.units import parse_duration
from fastdns.config.values import Address, ClientName, Identity, ListFile, ListUrl, ListZone, Mac
from fastdns.config.view_clients import parse_view_client
from fastdns.errors import FastdnsError

SATURDAY, SUNDAY = 5 * DAY, 6 * DAY


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", ()),
        ("Mon 08:00-12:00", ((480, 720),)),
        ("mon 20:00-07:00", ((1200, DAY + 420),)),
        ("Sun 22:30-24:00", ((SUNDAY + 1350, SUNDAY + DAY),)),
        ("Sat", ((SATURDAY, SATURDAY + DAY),)),
        (
            "Sat-Mon 10:00-11:00",
            ((600, 660), (SATURDAY + 600, SATURDAY + 660), (7980 + 1260, 9300)),
        ),
        ("12:00-13:00", tuple((day * DAY + 720, day * DAY + 780) for day in range(7))),
        ("Mon 8:00-9:00, Sat 9:00-10:00", ((480, 540), (SATURDAY + 540, SATURDAY + 600))),
    ],
)
def test_hours_are_spans_of_minutes_of_the_week(
    text: str, spans: tuple[tuple[int, int], ...]
) -> None:
    assert parse_hours(text).spans == spans


@pytest.mark.parametrize(
    "text",
    [
        "Mon-Fri 20-7",
        "Mo 20:00-07:00",
        "Mon 25:00-26:00",
        "Mon 08:00-08:00",
        "Mon 24:00-07:00",
        ",",
    ],
)
def test_a_text_that_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="20:00-07:00"):
        parse_hours(text)


@pytest.mark.parametrize(
    ("text", "wrong"), [("Mon-Fri 8pm-7am; Sat", "8pm-7am"), ("Sat, Mo 20:00-07:00", "mo")]
)
def test_the_wrong_part_of_a_time_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f'"{wrong}" is not a time'):
        parse_hours(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://foo.example/x", 'is a URL, not a name (write "foo.example")'),
        ("/^ad[0-9]/", "is a regular expression, not a name (only block lists can have one)"),
        ("||x.example^", 'is a filter rule (write "x.example", or put it into a list)'),
        ("@@||y.example^", 'is a filter rule (write "y.example", or put it into a list)'),
        ("shop.example:443", 'has a port (write "shop.example")'),
    ],
)
def test_what_is_no_domain_is_refused_with_the_domain_in_it(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f'"{text}" {problem}') + "$"):
        parse_domain(text)


def test_the_domain_of_part_of_a_network_is_a_domain() -> None:
    assert str(parse_domain("0/25.2.0.192.in-addr.arpa")) == "0/25.2.0.192.in-addr.arpa"


def test_a_list_with_an_impossible_port_is_refused_for_its_port() -> None:
    with pytest.raises(ValueError, match="has no valid port"):
        parse_list("http://127.0.0.1:99999/x")


@pytest.mark.parametrize(
    ("text", "remedy"), [("1 day", "1d"), ("1h30m", "90m"), ("2 hours", "2h"), ("soon", "30s")]
)
def test_a_text_that_is_no_duration_is_refused_with_what_it_means(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=f'not a duration \\(try "{remedy}"\\)'):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[[view]]\nname = "k"\nclients = ["10.1.1.1"]\nallow_list = []', "view.allow_lists"),
        ('[block]\nanswers = "null"', "block.answer"),
    ],
)
def test_a_key_is_looked_for_in_its_own_table_first(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(FastdnsError, match=rf"did you mean {hint}\?"):
        load(tmp_path / "one.toml")


def test_a_number_with_a_unit_is_refused_with_the_number(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('[access]\nrate_limit = "20/s"')
    with pytest.raises(FastdnsError, match=r"try 20\)"):
        load(tmp_path / "one.toml")


def test_clients_of_a_view_are_addresses_prefixes_hardware_addresses_and_names() -> None:
    assert parse_view_client("AA-BB-cc-dd-ee-ff") == Mac("aa:bb:cc:dd:ee:ff")
    assert parse_view_client("Tablet.lan.") == ClientName("tablet.lan")
    assert str(parse_view_client("192.168.20.0/24")) == "192.168.20.0/24"
    assert parse_view_client("TLS:Kids.dns.demo") == Identity("tls", "kids.dns.demo")
    assert parse_view_client("doh:Kid_1.a") == Identity("doh", "kid_1.a")
    assert str(parse_view_client("doh:kids")) == "doh:kids"
    for wrong in ("tls:", "tls:a b.demo", "tls:kids/", "tls:.demo", "tls:" + "x" * 64):
        with pytest.raises(ValueError, match="names no server"):
            parse_view_client(wrong)
    for wrong in ("doh:", "doh:kids/tablet", "doh:k ids", "doh:" + "x" * 64):
        with pytest.raises(ValueError, match="not a word of a path"):
            parse_view_client(wrong)
    with pytest.raises(ValueError, match=r'try "192\.168\.1\.20"'):
        parse_view_client("tablet of anna")


FILTERS = """
[block]
lists = [
    "https://lists.example/hosts",
    "file:/etc/fastdns/block",
    "axfr://192.0.2.1/rpz.example.?key=file:/etc/fastdns/tsig.key",
    "axfr://[2001:db8::1]:5353/RPZ.example",
]
allow = ["good.example"]
answer = "nxdomain"

[[view]]
name = "kids"
clients = ["192.168.1.20", "tablet"]
when = "Mon-Fri 20:00-07:00"
lists = []
safe_search = true
"""


def test_what_is_written_is_read_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(FILTERS)
    config = load(tmp_path / "one.toml")
    assert config.block.lists == (
        ListUrl("https://lists.example/hosts"),
        ListFile(Path("/etc/fastdns/block")),
        parse_list("axfr://192.0.2.1/rpz.example.?key=file:/etc/fastdns/tsig.key"),
        parse_list("axfr://[2001:db8::1]:5353/RPZ.example"),
    )
    signed, plain = config.block.lists[2:]
    assert isinstance(signed, ListZone)
    assert isinstance(plain, ListZone)
    assert (signed.server, signed.zone) == (Address("192.0.2.1", 53), "rpz.example")
    assert signed.key == Path("/etc/fastdns/tsig.key")
    assert (str(plain.server), plain.zone, plain.key) == ("[2001:db8::1]:5353", "rpz.example", None)
    (view,) = config.view
    assert (view.lists, view.allow_lists, view.answer) == ((), None, None)
    (tmp_path / "two.toml").write_text(render(config))
    assert load(tmp_path / "two.toml") == config


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ('[block]\nlists = ["/etc/block"]', 'block.lists: "/etc/block" is a path (write "file:'),
        ('[block]\nlists = ["ftp://a.example/x"]', "is not a list (try"),
        ('[block]\nlists = ["axfr://192.0.2.1"]', 'names no zone (try "axfr://192.0.2.1/rpz.'),
        (
            '[block]\nlists = ["axfr://ns.example/rpz"]',
            'no IP address (try "axfr://192.0.2.1/rpz")',
        ),
        ('[block]\nlists = ["axfr://192.0.2.1/rpz?tsig=x"]', "has an unknown option (try"),
        ('[block]\nlists = ["axfr://192.0.2.1/rpz?key=x"]', "is not an absolute path"),
        ('[block]\nlists = ["https://me:pw@a.example/x"]', "has a password"),
        (
            '[block]\nlists = ["https://a.example/x"]\nallow_lists = ["https://a.example/x"]',
            "allow_lists",
        ),
        ('[block]\nallow = ["a.example"]\ndeny = ["a.example"]', "block.deny: "),
        ('[block]\nupdate = "1m"', "block.update: "),
        ('[[view]]\nname = "a"\nclients = []', "view[0].clients: is empty"),
        ('[[view]]\nname = "a"', "view[0].clients: is missing"),
        ('[[view]]\nname = "a"\nclients = ["x"]\nwhen = "always"', "view[0].when: "),
        (
            '[[view]]\nname = "a"\nclients = ["x"]\n[[view]]\nname = "a"\nclients = ["y"]',
            "view[1].name: is the name of another view",
        ),
        ("[access]\nrate_limit = -1", "access.rate_limit: "),
    ],
)
def test_a_wrong_value_is_told_with_its_key(tmp_path: Path, table: str, line: str) -> None:
    (tmp_path / "fastdns.toml").write_text(table)
    with pytest.raises(FastdnsError) as refused:
        load(tmp_path / "fastdns.toml")
    assert line in str(refused.value)
