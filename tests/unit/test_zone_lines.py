"""Zone files of response policies as block lists: triggers by name, and their actions."""

from __future__ import annotations

import pytest

from fastdns._block_set import (
    ALLOWS,
    ANSWER_NODATA,
    ANSWER_NULL,
    ANSWER_NXDOMAIN,
    ANSWER_REFUSED,
    ITSELF,
    UNDER,
    BlockSet,
    BlockSetBuilder,
)
from fastdns._list_reader import LineFinder, ListReader

HEAD = """; a policy
$TTL 2h
@ IN SOA ns.rpz.demo. admin.rpz.demo. (
        2026010101 ; serial
        6h 1h 1w 2h )
  IN NS ns.rpz.demo.
"""


def wire(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read(text: str, zone: str | None = None) -> tuple[ListReader, BlockSet]:
    builder = BlockSetBuilder()
    reader = ListReader(builder, zone=None if zone is None else wire(zone))
    reader.feed(text.encode())
    reader.finish()
    return reader, BlockSet(builder.compile())


def said(lists: BlockSet, name: str) -> list[tuple[int, int]]:
    return [
        (entry.flags, entry.action)
        for found in lists.find(wire(name))
        if found.is_whole
        for entry in found.entries
    ]


@pytest.mark.parametrize(
    ("record", "flags", "action"),
    [
        ("a.demo CNAME .", ITSELF, ANSWER_NXDOMAIN),
        ("a.demo IN CNAME .", ITSELF, ANSWER_NXDOMAIN),
        ("A.Demo 300 IN CNAME . ; comment", ITSELF, ANSWER_NXDOMAIN),
        ("a.demo IN 1h30m cname .", ITSELF, ANSWER_NXDOMAIN),
        ("a.demo CNAME *.", ITSELF, ANSWER_NODATA),
        ("a.demo CNAME rpz-drop.", ITSELF, ANSWER_REFUSED),
        ("a.demo A 0.0.0.0", ITSELF, ANSWER_NULL),
        ("a.demo AAAA ::", ITSELF, ANSWER_NULL),
        ("a.demo A 0.0.0.0\n AAAA ::\n", ITSELF, ANSWER_NULL),
        ("a.demo CNAME rpz-passthru.", ITSELF | ALLOWS, 0),
        ("*.a.demo CNAME .", UNDER, ANSWER_NXDOMAIN),
        ("*.a.demo CNAME rpz-passthru.", UNDER | ALLOWS, 0),
        ("a.demo CNAME .\n*.a.demo CNAME .", ITSELF | UNDER, ANSWER_NXDOMAIN),
    ],
)
def test_record_says_which_names_and_which_answer(record: str, flags: int, action: int) -> None:
    reader, lists = read(HEAD + record)
    assert said(lists, "a.demo") == [(flags, action)]
    assert (reader.left_out, reader.first_faulty) == ({}, [])


@pytest.mark.parametrize(
    "text",
    [
        "$ORIGIN rpz.demo.\n@ SOA . . 1 2 3 4 5\na.demo CNAME .\n",
        "$ORIGIN rpz.demo.\n@ SOA . . 1 2 3 4 5\na.demo.rpz.demo. CNAME .\n",
        "rpz.demo. 300 IN SOA . . 1 2 3 4 5\na.demo.rpz.demo. 300 IN CNAME .\n",
        "rpz.demo. SOA . . 1 2 3 4 5\na.demo CNAME .\n",
        "$ORIGIN rpz.demo.\n@ SOA . . 1 2 3 4 5\n$ORIGIN demo.rpz.demo.\na CNAME .\n",
        "$ORIGIN rpz.demo.\n@ SOA . . 1 2 3 4 5\n$ORIGIN demo\na CNAME .\n",
        "$TTL 60\n@ SOA . . 1 2 3 4 5\na.demo CNAME .\n",
        "a.demo CNAME .\n",
        "$ORIGIN rpz.demo.\na.demo CNAME .\n",
        "$ORIGIN rpz.demo.\na.demo.rpz.demo. CNAME .\n",
    ],
)
def test_name_of_the_zone_is_not_part_of_what_is_blocked(text: str) -> None:
    reader, lists = read(text)
    assert said(lists, "a.demo") == [(ITSELF, ANSWER_NXDOMAIN)]
    assert len(lists) == 1
    assert reader.first_faulty == []


def test_name_of_the_zone_may_come_from_the_configuration() -> None:
    for text in (
        "a.demo.rpz.demo. CNAME .",
        "a.demo CNAME .",
        "@ SOA . . 1 2 3 4 5\na.demo CNAME .",
    ):
        _, lists = read(text, "rpz.demo")
        assert said(lists, "a.demo") == [(ITSELF, ANSWER_NXDOMAIN)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("32.1.2.0.192.rpz-ip CNAME .", "a trigger by address (rpz-ip)"),
        ("ns.demo.rpz-nsdname CNAME .", "a trigger by name server (rpz-nsdname)"),
        ("32.1.2.0.192.rpz-nsip CNAME .", "a trigger by name server (rpz-nsip)"),
        ("24.0.2.0.192.rpz-client-ip CNAME rpz-drop.", "a trigger by client (rpz-client-ip)"),
        ("* CNAME .", "a rule for all names"),
        ("a.demo CNAME rpz-tcp-only.", "rpz-tcp-only"),
        ("a.demo CNAME garden.demo.", "other data of a zone file"),
        ("a.demo A 192.0.2.1", "other data of a zone file"),
        ('a.demo TXT "a ; ( text"', "other data of a zone file"),
        ("$INCLUDE other", "$INCLUDE or $GENERATE of a zone file"),
    ],
)
def test_other_triggers_and_data_are_left_out_and_counted(record: str, reason: str) -> None:
    reader, lists = read(f"{HEAD}{record}\nb.demo CNAME .\n")
    assert reader.left_out == {reason: 1}
    assert (reader.taken, reader.faulty, len(lists)) == (1, 0, 1)


def test_name_that_leads_to_itself_is_let_through_as_in_old_files() -> None:
    _, lists = read("rpz.demo. SOA . . 1 2 3 4 5\na.demo CNAME a.demo.\n")
    assert said(lists, "a.demo") == [(ITSELF | ALLOWS, 0)]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ("a..demo CNAME .", "empty label"),
        ("a.demo", "not a record"),
        ("a.demo 300 IN", "not a record"),
        ("a.demo CNAME", "not a record"),
        ("a.other. CNAME .", "not under the name of the zone"),
        ("$ORIGIN", "names no origin"),
        ("a\\.b.demo CNAME .", "not a domain"),
    ],
)
def test_line_that_is_wrong_is_told_with_its_number(record: str, problem: str) -> None:
    reader, lists = read(f"rpz.demo. SOA . . 1 2 3 4 5\n{record}\nb.demo CNAME .\n")
    ((number, _, told),) = reader.first_faulty
    assert number == 2
    assert problem in told
    assert said(lists, "b.demo") == [(ITSELF, ANSWER_NXDOMAIN)]


def test_full_name_in_a_zone_without_a_name_is_told() -> None:
    reader, lists = read("@ SOA . . 1 2 3 4 5\na.demo.rpz.demo. CNAME .\n")
    assert len(lists) == 0
    assert reader.first_faulty == [(2, "a.demo.rpz.demo.", "is not under the name of the zone")]


def test_records_of_a_name_that_is_wrong_are_not_those_of_the_one_before() -> None:
    reader, lists = read(HEAD + "a.demo CNAME rpz-passthru.\nb..demo A 192.0.2.1\n CNAME .\n")
    assert said(lists, "a.demo") == [(ITSELF | ALLOWS, 0)]
    assert (reader.taken, reader.faulty) == (1, 2)


def test_what_stands_between_parentheses_is_one_record() -> None:
    reader, lists = read(HEAD + 'a.demo TXT ( "x"\nb.demo CNAME .\n"y;)" ) \nc.demo CNAME .\n')
    assert (said(lists, "b.demo"), said(lists, "c.demo")) == ([], [(ITSELF, ANSWER_NXDOMAIN)])
    assert reader.faulty == 0


@pytest.mark.parametrize("text", ["0.0.0.0 a\n", "not a domain\n", "a.demo # CNAME .\n"])
def test_other_lists_are_not_taken_for_a_zone_file(text: str) -> None:
    reader, _ = read(text + "b.demo\n0.0.0.0 c.demo\n||d.demo^\n")
    assert reader.taken >= 3


def test_line_of_a_zone_file_is_found() -> None:
    finder = LineFinder(name=wire("x.a.demo"))
    finder.feed(f"{HEAD}a.demo CNAME .\n*.a.demo CNAME . ; x\n".encode())
    finder.finish()
    assert finder.found == [(8, "*.a.demo CNAME . ; x", 2, UNDER)]
