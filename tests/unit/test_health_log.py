"""Log lines about upstreams, and how often they come."""

from __future__ import annotations

import errno
import logging

import pytest

from fastdns._counters import UpstreamState
from fastdns.upstream.health_log import HealthLog

GOOD = UpstreamState("u", True, 0.01, 9, 0)
DEAD = GOOD._replace(alive=False, error=errno.ECONNREFUSED)
REFUSING = GOOD._replace(rcode=5)
PLAIN = GOOD._replace(edns=False, lacks_edns=True)
LAME = GOOD._replace(recurses=False)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([GOOD, GOOD], []),
        ([DEAD, DEAD], ["does not answer (Connection refused)"]),
        ([DEAD._replace(error=0)], ["does not answer (no reply in time)"]),
        ([DEAD, GOOD, GOOD], ["does not answer", "answers again"]),
        ([REFUSING, REFUSING], ["answers REFUSED to everything: it does not serve this address"]),
        ([GOOD._replace(rcode=2)], ["answers SERVFAIL to everything: it cannot resolve"]),
        ([REFUSING, GOOD], ["to everything", "answers well again"]),
        (
            [REFUSING, DEAD, REFUSING, GOOD],
            ["to everything", "does not answer", "answers again", "answers well again"],
        ),
        ([LAME, LAME], ["does not recurse"]),
        ([PLAIN, PLAIN, GOOD], ["does not answer queries with EDNS", "answers queries with EDNS"]),
    ],
)
def test_each_event_is_said_once(
    states: list[UpstreamState], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("fastdns").propagate = True
    health_log = HealthLog()
    with caplog.at_level(logging.INFO):
        for state in states:
            health_log.look([state])
    assert [text in line for text, line in zip(said, caplog.messages, strict=True)] == [True] * len(
        said
    )


def test_what_another_process_has_said_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("fastdns").propagate = True
    health_log = HealthLog([DEAD])
    with caplog.at_level(logging.INFO):
        health_log.look([DEAD])
        health_log.look([GOOD])
    assert caplog.messages == ["upstream u answers again"]
