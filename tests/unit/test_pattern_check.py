"""Regular expressions of block lists: those that take long for some name are refused."""

from __future__ import annotations

import time

import pytest

from fastdns.policy.block_lists.pattern_check import PATTERNS_MAX, PatternCheck
from fastdns.policy.block_lists.patterns import compile_pattern

USUAL = [  # as lists have them
    r"^ad([sxv]?[0-9]*|system)[_.-]([^.[:space:]]+\.){1,}|[_.-]ad([sxv]?[0-9]*|system)[_.-]",
    r"^(.+[_.-])?adse?rv(er?|ice)?s?[0-9]*[_.-]",
    r"^(.+[_.-])?telemetry[_.-]",
    r"^adim(age|g)s?[0-9]*[_.-]",
    r"^adtrack(er|ing)?[0-9]*[_.-]",
    r"^advert(s|is(ing|ements?))?[0-9]*[_.-]",
    r"^aff(iliat(es?|ion))?[_.-]",
    r"^analytics?[_.-]",
    r"^banners?[_.-]",
    r"^beacons?[0-9]*[_.-]",
    r"^count(ers?)?[0-9]*[_.-]",
    r"^mads\.",
    r"^pixels?[-.]",
    r"^stat(s|istics)?[0-9]*[_.-]",
    r"^traff(ic)?[-.]",
    r"^[a-z0-9]{8,}\.(top|xyz|club)$",
    r"^(?!www\.).*doubleclick\.net$",
    r"(\.|^)adservice\.google\..*$",
    r"^([a-z0-9-]+\.)*tracker\.demo$",
    r"(?:^|\.)ad.*\.demo$",
    r"(?:^|\.)a(?>.*?b)(?>.*?c)(?>.*?d).*e\.demo$",
    r"^.*\.adnxs\.com$",
    r"^s[0-9]+\.[a-z]{2,6}\.cdn[0-9]{1,3}\.demo$",
]
SLOW = [
    r"(a+)+$",
    r"(a*)*b",
    r"([a-z]+)*\.demo$",
    r"(a|a)*$",
    r"(a|ab)*c",
    r"(.*a){20}",
    r"(.*)*x",
    r"(a?){30}a{30}",
    r"a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaaaaaaaaaaaaaaaaaaa$",
    r"^(([a-z0-9])+.)+[A-Z]([a-z0-9])+$",
    r".*.*.*.*x",
    r"^.*.*.*.*=.*",
    r"(x+x+)+y",
    r"(?:[a-z0-9-]+\.?)+\.demo",
    r"([a-z]{1,30}){1,30}$",
    r"(?=(a+)+$)b",
    r"((ab?)*c?)*d",
    r"b(?>(?:a?[a-z]{0,40}\w{3}\w{2,}|.){3}[a-z](.[^.]{3}[ab]0))",
]


@pytest.mark.parametrize("text", USUAL)
def test_expressions_that_lists_have_are_taken(text: str) -> None:
    assert PatternCheck()(text) is None


@pytest.mark.parametrize("text", SLOW)
def test_expression_that_takes_long_is_refused_in_no_time(text: str) -> None:
    begin = time.thread_time()
    reason = PatternCheck()(text)
    assert reason in (
        "takes too long for some names",
        "repeats what itself matches in several ways",
    )
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (r"(a)\1", "refers back"),
        (r"(a)?(?(1)b|c)", "refers back"),
        ("(", "not a regular expression"),
        ("a{2,1}", "not a regular expression"),
        ("(?u)a", "not a regular expression"),
        ("a{99999999999999}", "not a regular expression"),
        ("(" * 490 + ")" * 490, ""),
        ("a" * 1001, "1000 characters"),
        (".*", "every name"),
        ("", "every name"),
        ("^[a-z0-9]", "every name"),
    ],
)
def test_expression_that_is_no_rule_is_refused(text: str, reason: str) -> None:
    told = PatternCheck()(text)
    assert told is not None
    assert reason in told


def test_no_list_has_more_expressions_than_a_new_name_can_be_tried_on() -> None:
    check = PatternCheck()
    told = [check(f"^ad{number}\\.") for number in range(PATTERNS_MAX + 1)]
    assert told[:-1] == [None] * PATTERNS_MAX
    assert "beyond the first" in str(told[-1])


@pytest.mark.parametrize(
    ("text", "name", "matches"),
    [
        ("^ad[0-9]+\\.", "ad12.demo", True),
        ("^AD[0-9]+\\.", "ad12.demo", True),
        ("ads", "x.ads.demo", True),
        ("^ads", "x.ads.demo", False),
        ("demo$", "x.demo", True),
        ("^[[:alpha:]]+[[:digit:]]\\.", "ad7.demo", True),
    ],
)
def test_expression_is_looked_for_anywhere_in_a_name(text: str, name: str, matches: bool) -> None:
    assert bool(compile_pattern(text).search(name)) is matches
