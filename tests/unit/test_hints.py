"""Addresses in the parameters of SVCB and HTTPS records: read, whatever they say, and taken out."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

import dns.message
import pytest
from messages import AD, GENEROUS, ID, REPLY, A, key, name, record, reply

from fastdns._answer import Limits, Reading

HTTPS, SVCB = 65, 64
MANDATORY, ALPN, PORT, V4, V6 = 0, 1, 3, 4, 6


def parameter(number: int, *values: bytes) -> bytes:
    value = b"".join(values)
    return struct.pack("!HH", number, len(value)) + value


def addresses(number: int, *texts: str) -> bytes:
    return parameter(number, *(ip_address(one).packed for one in texts))


def keys(*numbers: int) -> bytes:
    return parameter(MANDATORY, struct.pack(f"!{len(numbers)}H", *numbers))


def service(*parameters: bytes, target: bytes = b"\0", rtype: int = HTTPS) -> bytes:
    return record(rtype, struct.pack("!H", 1) + target + b"".join(parameters))


def question(rtype: int = HTTPS) -> bytes:
    return key(qtype=rtype)


def found(*records: bytes, rtype: int = HTTPS) -> Reading:
    reading = Reading()
    assert reading.read(reply(*records, qtype=rtype), ID, question(rtype))
    return reading


@pytest.mark.parametrize("rtype", [HTTPS, SVCB])
def test_hints_are_found_like_addresses(rtype: int) -> None:
    reading = found(
        service(
            parameter(ALPN, b"\2h2"),
            addresses(V4, "192.0.2.1"),
            addresses(V6, "2001:db8::1"),
            target=name("svc.example"),
            rtype=rtype,
        ),
        rtype=rtype,
    )
    assert [one[-4:] for one in reading.addresses] == [
        ip_address("192.0.2.1").packed,
        ip_address("2001:db8::1").packed[-4:],
    ]
    assert not reading.has_private
    assert not reading.has_bad_hints


@pytest.mark.parametrize(
    "hint",
    [
        addresses(V4, "192.0.2.1", "10.0.0.1"),
        addresses(V6, "2001:db8::1", "fd00::1"),
        addresses(V6, "::ffff:127.0.0.1"),
        addresses(V6, "64:ff9b::192.168.0.1"),
    ],
)
def test_private_hint_is_found(hint: bytes) -> None:
    assert found(service(parameter(ALPN, b"\2h2"), hint)).has_private


@pytest.mark.parametrize(
    "parameters",
    [
        b"\0",
        b"\0\4\0",
        b"\0\4\0\4\xc0\0\2",  # cut
        parameter(V4),
        parameter(V4, b"\xc0\0\2"),
        parameter(V6, bytes(15)),
        parameter(V6, bytes(17)),
        addresses(V4, "192.0.2.1") + b"\0\6\xff\xff",
    ],
)
def test_parameters_that_cannot_be_read_are_told(parameters: bytes) -> None:
    assert found(service(parameters)).has_bad_hints
    # A good record after it does not make up for it.
    assert found(service(parameters), service(addresses(V4, "192.0.2.1"))).has_bad_hints


def test_record_without_parameters_is_good() -> None:
    assert not found(service(target=name("other.example"))).has_bad_hints


def stripped(*records: bytes, if_v4: bool = False) -> list[str]:
    reading = found(*records)
    assert reading.strip(question(), if_v4)
    message = dns.message.from_wire(reading.answer(GENEROUS).message, one_rr_per_rrset=True)
    return [one[0].to_text() for one in message.answer]


def test_ipv6_hints_are_taken_out_and_the_rest_stays() -> None:
    assert stripped(
        service(
            parameter(ALPN, b"\2h2"),
            addresses(V4, "192.0.2.1"),
            addresses(V6, "2001:db8::1"),
            parameter(9, b"x"),
        ),
        service(addresses(V6, "2001:db8::1"), target=name("svc.example")),
    ) == ['1 . alpn="h2" ipv4hint="192.0.2.1" key9="x"', "1 svc.example."]


@pytest.mark.parametrize("hint", [addresses(V4, "192.0.2.1"), addresses(V6, "2001:db8::1")])
def test_answer_whose_hints_are_gone_counts_as_validated_no_more(hint: bytes) -> None:
    reading = Reading()
    assert reading.read(reply(service(hint), qtype=HTTPS, flags=REPLY | AD), ID, question())
    assert reading.strip(question(), False)
    message = reading.answer(Limits(0, 86400, 3600, 5, True)).message
    assert bool(message[3] & AD) == (hint == addresses(V4, "192.0.2.1"))


def test_only_records_with_ipv4_hints_lose_them_if_that_is_wanted() -> None:
    both = service(addresses(V4, "192.0.2.1"), addresses(V6, "2001:db8::1"))
    alone = service(addresses(V6, "2001:db8::1"))
    assert stripped(both, alone, if_v4=True) == [
        '1 . ipv4hint="192.0.2.1"',
        '1 . ipv6hint="2001:db8::1"',
    ]


def test_hint_that_is_gone_is_not_mandatory_any_more() -> None:
    assert stripped(
        service(keys(ALPN, V6), parameter(ALPN, b"\2h2"), addresses(V6, "2001:db8::1"))
    ) == ['1 . mandatory="alpn" alpn="h2"']
    assert stripped(service(keys(V6), addresses(V6, "2001:db8::1"))) == ["1 ."]


def test_record_that_cannot_be_read_is_left_out() -> None:
    assert stripped(service(b"\0\6\0"), service(parameter(ALPN, b"\2h2"))) == ['1 . alpn="h2"']


def test_names_in_other_records_still_point_to_the_right_place() -> None:
    reading = found(
        record(5, name("a.example")),
        record(HTTPS, b"\0\1\0" + addresses(V6, "2001:db8::1"), owner=name("a.example")),
    )
    assert reading.strip(question(), False)
    message = dns.message.from_wire(reading.answer(GENEROUS).message, one_rr_per_rrset=True)
    assert [str(one.name) for one in message.answer] == ["www.example.", "a.example."]


def test_target_that_was_compressed_is_written_in_full() -> None:
    alias = record(5, name("deep.b.a.example"))
    into_it = struct.pack("!H", 0xC000 | (len(reply(qtype=HTTPS)) + 12 + 5))  # b.a.example
    for if_v4 in (False, True):
        assert stripped(
            alias,
            record(
                HTTPS,
                b"\0\1" + into_it + addresses(V6, "2001:db8::1"),
                owner=name("DEEP.b.a.example"),
            ),
            if_v4=if_v4,
        )[1:] == ["1 b.a.example." + (' ipv6hint="2001:db8::1"' if if_v4 else "")]


def test_nothing_that_a_packet_says_can_harm() -> None:
    chance = random.Random(14)
    good = service(
        keys(ALPN, V6),
        parameter(ALPN, b"\2h2"),
        addresses(V4, "192.0.2.1"),
        addresses(V6, "2001:db8::1", "fd00::1"),
        target=name("svc.example"),
    )
    whole = reply(good, service(addresses(V6, "::1")), record(A, b"\x0a\0\0\1"), qtype=HTTPS)
    for _ in range(20_000):
        wire = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            wire[chance.randrange(12, len(wire))] = chance.choice(
                (0, 1, 4, 6, 63, 192, 255, chance.randrange(256))
            )
        wire = wire[: chance.choice((len(wire), chance.randrange(12, len(wire))))]
        reading = Reading()
        if reading.read(bytes(wire), ID, question()) and reading.strip(
            question(), chance.random() < 0.5
        ):
            again = Reading()
            assert again.read(reading.answer(GENEROUS).message, ID, question())
            assert again.addresses == reading.addresses


def test_any_parameters_are_told_as_an_independent_reader_would() -> None:
    chance = random.Random(9460)
    for _ in range(1500):
        records, wanted = [], []
        if_v4 = chance.random() < 0.5
        for priority in range(1, chance.randrange(2, 5)):
            values = {
                number: chance.randbytes(size * chance.randrange(1, 4))
                for number, size in ((V4, 4), (V6, 16), (9, 3), (11, 1), (700, 2))
                if chance.random() < 0.5
            }
            there = sorted(values)
            if there and chance.random() < 0.3:
                named = sorted(chance.sample(there, chance.randrange(1, len(there) + 1)))
                values[MANDATORY] = struct.pack(f"!{len(named)}H", *named)
            target = chance.choice((b"\0", name("Svc.example"), name(".".join(["x" * 60] * 4))))
            start = struct.pack("!H", priority) + target

            def data(
                left_out: int = -1, start: bytes = start, values: dict[int, bytes] = values
            ) -> bytes:
                kept = {number: value for number, value in values.items() if number != left_out}
                if MANDATORY in kept:
                    numbers = struct.unpack(f"!{len(kept[0]) // 2}H", kept[0])
                    kept[0] = b"".join(struct.pack("!H", n) for n in numbers if n != left_out)
                    if not kept[0]:
                        del kept[0]
                return start + b"".join(parameter(n, kept[n]) for n in sorted(kept))

            records.append(record(HTTPS, data()))
            wanted.append(data(V6 if V4 in values or not if_v4 else -1))
        reading = found(*records)
        assert reading.strip(question(), if_v4)
        message = dns.message.from_wire(reading.answer(GENEROUS).message, one_rr_per_rrset=True)
        assert [one[0].to_wire() for one in message.answer] == wanted
