"""Why a name is blocked or allowed: the list with its line, the rule with its key."""

from __future__ import annotations

import io
from typing import IO

import pytest
from test_blocking import ITSELF, UNDER, compiled, configured, domain, lists, of

from fastdns._policy import Policy
from fastdns.cli.why.filtering import as_json, told
from fastdns.config.filters import Block, View
from fastdns.config.names import parse_name
from fastdns.policy.blocking import compile_blocking
from fastdns.policy.explain import Explanation, explain
from fastdns.policy.local_names import Names

URL = str(lists(1)[0])
TEXT = b"! a list\n||example^\n||ads.example^\n@@||ok.ads.example^\n/^track[0-9]/\n"


def opened(source: str) -> IO[bytes] | None:
    return io.BytesIO(TEXT) if source == URL else None


@pytest.fixture(scope="module")
def policy() -> Policy:
    names = compiled(
        ("ads.example", 0, ITSELF | UNDER),
        ("ok.ads.example", 0, ITSELF | UNDER | 4),
        patterns=[("^track[0-9]", 0, ITSELF)],
    )
    return Policy(blocking=compile_blocking(CONFIG, block_set=names))


CONFIG = configured(
    Block(lists=lists(1), deny=(domain("a.example"), domain("b.example"))),
    View(name="kids", clients=("x",), allow=(domain("a.example"),), safe_search=True),
)


def explained(policy: Policy, name: str, view: int = 0, *, has_text: bool = True) -> Explanation:
    open_list = opened if has_text else None
    return explain(CONFIG, policy, of(name, view=view), Names(), open_list=open_list)


@pytest.mark.parametrize(
    ("name", "view", "says"),
    [
        ("x.ads.example", 0, f"blocked by list {URL}, line 3: ||ads.example^"),
        ("ok.ads.example", 0, f"allowed by list {URL}, line 4: @@||ok.ads.example^"),
        (
            "track1.demo",
            0,
            f"blocked by a regular expression of list {URL}, line 5: /^track[0-9]/",
        ),
        ("x.b.example", 0, "blocked by your rule for b.example. (block.deny[1])"),
        ("x.a.example", 1, "allowed by your rule for a.example. (view[0].allow[0])"),
        (
            "www.google.de",
            1,
            "safe search: the name of a search engine stands for its safe host",
        ),
    ],
)
def test_line_or_key_that_has_decided_is_told(
    policy: Policy, name: str, view: int, says: str
) -> None:
    found = explained(policy, name, view)
    assert found.filtering is not None
    assert told(found.filtering) == says
    shown = as_json(found.filtering)
    assert shown is not None
    assert shown["reason"] == found.decided.reason
    assert (found.view is not None) == bool(view)


def test_list_whose_text_is_not_there_is_named_without_a_line(policy: Policy) -> None:
    found = explained(policy, "x.ads.example", has_text=False)
    assert found.filtering is not None
    assert told(found.filtering) == f"blocked by list {URL}, which has ads.example."


def test_name_that_nothing_concerns_has_no_reason(policy: Policy) -> None:
    assert explained(policy, "www.demo").filtering is None
    assert explained(policy, "www.demo").answer is None


def test_safe_search_is_told_with_its_record(policy: Policy) -> None:
    found = explained(policy, "www.google.de", 1)
    assert found.target == parse_name("forcesafesearch.google.com")
    assert [str(one.origin) for one in found.records] == ["view[0].safe_search"]
