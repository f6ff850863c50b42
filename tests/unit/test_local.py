"""The owner's records: which name has which, and the answers made from them."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import pytest
from messages import key

from fastdns._local import LocalBuilder, LocalRecords, local_answer
from fastdns.config.names import parse_name

Built = tuple[LocalRecords, list[str]]


def add(builder: LocalBuilder, line: str, origin: int = 0) -> bool:
    """Add "nas.lan 300 A 192.0.2.1"."""
    name, ttl, rtype, *rest = line.split()
    rdata = dns.rdata.from_text("IN", rtype, " ".join(rest), dns.name.root, False)
    data = rdata.to_wire() or b""
    return builder.add(parse_name(name), rdata.rdtype, int(ttl), data, origin)


def built(*lines: str) -> LocalRecords:
    builder = LocalBuilder()
    for number, line in enumerate(lines):
        assert add(builder, line, number)
    return builder.compile()


def answer(
    local: LocalRecords, name: str, rtype: str = "A", labels: int = 1
) -> dns.message.Message:
    made, target = local_answer(local, key(name, dns.rdatatype.from_text(rtype)), labels)
    assert target is None
    return dns.message.from_wire(made.message)


def told(local: LocalRecords, name: str, rtype: str = "A") -> list[str]:
    return [str(rdata) for rrset in answer(local, name, rtype).answer for rdata in rrset]


def test_name_has_its_records_by_type() -> None:
    local = built(
        "nas.lan 300 A 192.0.2.1",
        "nas.lan 300 A 192.0.2.2",
        "nas.lan 300 AAAA 2001:db8::1",
        'nas.lan 300 TXT "a b"',
        "lan 300 MX 10 nas.lan.",
    )
    assert told(local, "nas.lan") == ["192.0.2.1", "192.0.2.2"]
    assert told(local, "NAS.lan", "AAAA") == ["2001:db8::1"]
    assert told(local, "lan", "MX") == ["10 nas.lan."]
    assert len(told(local, "nas.lan", "ANY")) == 4
    assert (local.count, local.records) == (2, 5)
    assert local.find(parse_name("nas.lan")) == (
        *(2, False),
        [
            (1, 300, bytes([192, 0, 2, 1]), 0),
            (1, 300, bytes([192, 0, 2, 2]), 1),
            (28, 300, bytes.fromhex("20010db8") + bytes(11) + b"\1", 2),
            (16, 300, b"\3a b", 3),
        ],
    )


def test_each_record_has_its_own_ttl_and_the_answer_the_least() -> None:
    local = built("nas.lan 300 A 192.0.2.1", "nas.lan 7 AAAA 2001:db8::1")
    made, _ = local_answer(local, key("nas.lan"), 2)
    assert made.ttl == 300
    assert answer(local, "nas.lan", "AAAA").answer[0].ttl == 7


def test_records_of_a_type_have_the_smallest_ttl_of_them() -> None:
    for ttls in ((300, 60, 120), (60, 300, 120), (300, 120, 60)):
        local = built(*(f"nas.lan {ttl} A 192.0.2.{ttl & 255}" for ttl in ttls))
        message = answer(local, "nas.lan")
        assert (len(message.answer), message.answer[0].ttl) == (1, 60)  # RFC 2181 section 5.2


def test_other_types_of_a_name_have_no_data_by_the_soa_of_its_zone() -> None:
    local = built("a.nas.lan 300 A 192.0.2.1")
    for labels, zone in ((1, "lan."), (3, "a.nas.lan."), (0, ".")):
        message = answer(local, "a.nas.lan", "MX", labels)
        assert message.rcode() == 0
        assert not message.answer
        assert str(message.authority[0].name) == zone
        assert message.authority[0].ttl == 60


def test_exact_name_comes_before_the_longest_wildcard() -> None:
    local = built(
        "*.lan 60 A 192.0.2.1",
        "*.dev.lan 60 A 192.0.2.2",
        "a.dev.lan 60 A 192.0.2.3",
        "dev.lan 60 A 192.0.2.4",
    )
    for name, address in (
        ("x.lan", 1),
        ("x.y.lan", 1),
        ("b.dev.lan", 2),
        ("c.b.dev.lan", 2),
        ("a.dev.lan", 3),
        ("dev.lan", 4),
    ):
        assert told(local, name) == [f"192.0.2.{address}"]
        assert str(answer(local, name).answer[0].name) == f"{name}."
    assert local.find(parse_name("lan")) is None
    assert told(local, "y.a.dev.lan") == ["192.0.2.2"]
    assert told(local, "a.dev.lan", "AAAA") == []


def test_name_above_another_has_no_records_of_its_own() -> None:
    local = built("a.b.lan 60 A 192.0.2.1")
    for name in ("b.lan", "lan", ".", "x.a.b.lan", "x.lan"):
        assert local.find(parse_name(name)) is None
        with pytest.raises(ValueError, match="without local records"):
            local_answer(local, key(name), 0)


def test_cname_is_followed_among_the_records_and_its_end_is_told() -> None:
    local = built(
        "www.lan 60 CNAME web.lan.",
        "web.lan 60 CNAME nas.lan.",
        "nas.lan 60 A 192.0.2.1",
        "out.lan 60 CNAME example.com.",
    )
    assert told(local, "www.lan") == ["web.lan.", "nas.lan.", "192.0.2.1"]
    assert told(local, "www.lan", "CNAME") == ["web.lan."]
    message = answer(local, "www.lan", "AAAA")
    assert [str(one.name) for one in message.answer] == ["www.lan.", "web.lan."]
    assert str(message.authority[0].name) == "lan."
    message = answer(local, "www.lan", "AAAA", 2)
    assert str(message.authority[0].name) == "nas.lan."
    made, target = local_answer(local, key("out.lan"), 2)
    assert target == parse_name("example.com")
    assert str(dns.message.from_wire(made.message).answer[0][0]) == "example.com."


def test_same_record_is_there_once() -> None:
    builder = LocalBuilder()
    assert add(builder, "nas.lan 60 A 192.0.2.1")
    assert not add(builder, "nas.lan 300 A 192.0.2.1")
    assert builder.has(parse_name("nas.lan"))
    assert not builder.has(parse_name("lan"))
    assert not builder.has(parse_name("*.nas.lan"))
    assert add(builder, "*.nas.lan 300 A 192.0.2.1")
    assert builder.has(parse_name("*.nas.lan"))
    assert builder.compile().records == 2


def test_name_with_too_many_records_keeps_those_that_fit_an_answer() -> None:
    builder = LocalBuilder()
    taken = sum(
        builder.add(
            parse_name("nas.lan"), 16, 60, bytes([200]) + number.to_bytes(2) + bytes(198), 0
        )
        for number in range(400)
    )
    assert 100 < taken < 400
    made, _ = local_answer(builder.compile(), key("nas.lan", 16), 2)
    message = dns.message.from_wire(made.message)
    assert len(message.answer[0]) == taken


def test_chain_of_full_names_never_outgrows_an_answer() -> None:
    builder = LocalBuilder()
    for number in range(16):
        target = parse_name(f"n{number + 1}.lan")
        builder.add(parse_name(f"n{number}.lan"), 5, 60, target, 0)
    for number in range(16, 20):
        for one in range(140):
            builder.add(parse_name(f"n{number}.lan"), 16, 60, bytes([220, one]) + bytes(219), 0)
    made, _ = local_answer(builder.compile(), key("n4.lan", 16), 2)
    assert len(made.message) < 65536
    dns.message.from_wire(made.message)


@pytest.mark.parametrize("name", [b"", b"\0x", b"\3NAS\0", b"\3nas", b"\x40" + b"a" * 64 + b"\0"])
def test_what_is_no_name_is_refused(name: bytes) -> None:
    builder = LocalBuilder()
    with pytest.raises(ValueError, match="wire form"):
        builder.add(name, 1, 60, bytes(4), 0)
    with pytest.raises(ValueError, match="wire form"):
        builder.compile().find(name)
    with pytest.raises(ValueError, match="target"):
        builder.add(b"\3nas\0", 5, 60, name, 0)


def test_many_names_are_all_there_and_take_little_memory() -> None:
    builder = LocalBuilder()
    for number in range(20_000):
        builder.add(parse_name(f"h{number}.lan"), 1, 60, number.to_bytes(4), number)
    local = builder.compile()
    assert len(local) == 20_000
    for number in range(0, 20_000, 7):
        found = local.find(parse_name(f"h{number}.lan"))
        assert found is not None
        assert found[2] == [(1, 60, number.to_bytes(4), number)]
    assert len(builder.compile()) == 20_000


def test_empty_one_has_nothing() -> None:
    local = LocalBuilder().compile()
    assert len(local) == 0
    assert local.find(b"\0") is None
    assert local.records == 0


def test_any_names_are_found_as_a_plain_search_finds_them() -> None:
    rng = random.Random(14)
    labels = ["a", "b", "lan", "*"]
    for _ in range(60):
        names = {
            ".".join([rng.choice(labels), *rng.choices(labels[:3], k=rng.randrange(4))])
            for _ in range(rng.randrange(1, 12))
        }
        local = built(*(f"{name} 60 A 192.0.2.1" for name in sorted(names)))
        for _ in range(60):
            asked = rng.choices(labels[:3], k=rng.randrange(1, 6))
            above = [".".join(["*", *asked[cut:]]) for cut in range(1, len(asked) + 1)]
            wanted = next((one for one in (".".join(asked), *above) if one in names), None)
            found = local.find(parse_name(".".join(asked)))
            if wanted is None:
                assert found is None, (names, asked)
            else:
                assert found is not None, (names, asked)
                count = wanted.count(".") + (0 if wanted[0] == "*" else 1)
                assert found[:2] == (count, wanted[0] == "*"), (names, asked)


@pytest.mark.parametrize(
    "data", [b"", b"\0\1", b"\0\1\3ab", b"\0\1" + b"\xff" * 9, b"\0\1" + b"\1a" * 200 + b"\0"]
)
def test_svcb_record_without_a_whole_target_has_nothing_beside_it(data: bytes) -> None:
    builder = LocalBuilder()
    assert builder.add(parse_name("x.lan"), dns.rdatatype.SVCB, 60, data, 0)
    made, _ = local_answer(builder.compile(), key("x.lan", dns.rdatatype.SVCB), 1)
    assert made.message[6:12] == b"\0\1\0\0\0\0"
    assert made.message.endswith(data)
