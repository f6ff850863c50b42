"""The story of a question for people, and as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ...browse.names import spell_name, spell_rcode, spell_type
from ...browse.records import Record, read_records, relevant, spell_data
from ...config.text import escape
from ...config.types import TYPES
from ...policy.explain import Explanation, OwnRecord
from ..figures import in_a_word, in_days, in_number, in_time
from ..wrapping import wrapped
from . import filtering
from .story import RING, Asked, Kept, Story

if TYPE_CHECKING:
    from .live import Timeline

INDENT = 11
RECORDS_SHOWN = 20
TOLD_MAX = 3  # records in the first line
TIERS = {"disk": "on disk", RING: "on its way to the disk"}


def lines(story: Story, timeline: Timeline | None) -> Iterator[str]:
    """Yield the lines for people: the answer in a sentence, then the details."""
    yield click.style(wrapped(sentence(story)), bold=True)
    yield ""
    yield from _named("client", [_client(story)])
    if story.config.view:
        yield from _named("view", [_view(story)])
    yield from _named("decision", list(_decision(story)))
    if story.is_forwarded:
        for one in story.kept:
            yield from _named("entry", list(_entry(story, one)))
        if not story.kept:
            yield from _named("entry", [_absence(story)])
        yield from _named("upstreams", list(_upstreams(story)) or ["none"])
    yield from _named("daemon", [_daemon(story)])
    yield from _named("note", list(story.notes))
    if timeline is not None:
        others = "" if story.client.may_ask else f" ({story.client.spelled} is refused)"
        admitted = others and ", as for a client that may ask"
        yield from _named("live", [f"asked now, without the cache{admitted}{others}:"])
        yield from timeline.lines()


def _named(name: str, values: list[str]) -> list[str]:
    """Return a line for each value, the first with the name before it."""
    return [
        f"{name if number == 0 else '':<{INDENT}} {wrapped(one, INDENT + 1)}"
        for number, one in enumerate(values)
    ]


# --- the sentence ---------------------------------------------------------------------------------


def outcome(story: Story) -> str:
    """Return in a word where the answer comes from."""
    if not story.client.may_ask:
        return "refused"
    if not story.is_forwarded:
        return "here"
    plain = story.plain
    if plain is not None and plain.target is not None:
        return "blocked"
    if plain is None or plain.obstacle:
        return "upstream"
    return "cache" if plain.item.state == "fresh" else "stale"


def sentence(story: Story) -> str:
    """Return the answer to "why" in a sentence."""
    told = _sentence(story)
    if story.pause is not None and story.pause.filtering is not None:
        told += "; blocking is paused"
    if not story.unread:
        return told
    more = f" and {len(story.unread) - 1} more" if len(story.unread) > 1 else ""
    return f"{told} (not certain: {story.unread[0]}{more} cannot be read)"


def _sentence(story: Story) -> str:
    where = outcome(story)
    if where == "refused":
        verb = "gets no answer" if story.client.is_dropped else "is refused"
        return f"{story.question}: client {story.client.spelled} {verb} ({story.client.rule})"
    if where == "here":
        told = _told(story)
        return f"{story.question} is answered here with {told}: {_reason(story.explanation)}"
    group = _group(story.explanation)
    plain = story.plain
    question = story.question
    if where == "blocked":
        assert plain is not None
        assert plain.target is not None
        return f"{question} is blocked: its answer {filtering.led(plain.target)}"
    rule = story.explanation.rule
    if rule is not None and rule.rule.aaaa == "if-no-a" and story.key.qtype == TYPES["AAAA"]:
        question += f' has data only if the name has no A record (aaaa = "if-no-a", {rule}); it'
    if where == "cache":
        assert plain is not None
        left = in_days(plain.item.ttl)
        return f"{question} is answered from the cache, {left} left; it is of {group}"
    if where == "stale":
        return (
            f"{question} is asked from {group}; its entry in the cache is stale, and served "
            "only if no upstream answers in time"
        )
    there = "; its entry in the cache is not served" if plain else f", {_not_there(story)}"
    return f"{question} is asked from {group}{there}"


def _answer(story: Story) -> list[Record]:
    """Return the records of the answer that fastdns itself gives."""
    answer = story.explanation.answer
    if answer is None:
        return []
    return list(read_records(answer.message, answer.ttl_offsets, story.key.name, 0))


def _told(story: Story) -> str:
    """Return what is answered here, in a few words."""
    answer = story.explanation.answer
    assert answer is not None
    if answer.rcode:
        return spell_rcode(answer.rcode)
    wanted = spell_type(story.key.qtype)
    records = [one for one in _answer(story) if one.section == "ANSWER"]
    of_type = [one.data for one in records if one.type == wanted]
    if not of_type:
        of_type = [f"{one.type} {one.data}" for one in records[-TOLD_MAX:]]
    more = f" and {len(of_type) - TOLD_MAX} more" if len(of_type) > TOLD_MAX else ""
    return (", ".join(of_type[:TOLD_MAX]) or "no data") + more


def _not_there(story: Story) -> str:
    if story.site is None:
        return "if the cache does not have it"
    return "not in the cache" if story.daemon is None else "not in the cache on disk"


def _group(explanation: Explanation) -> str:
    if explanation.group is None:
        return "the default group"
    if explanation.domain is None:
        return f"the servers of view {explanation.group.name}"
    return f"group {explanation.group.name} ({_because(explanation)})"


def _because(explanation: Explanation) -> str:
    domain = spell_name(explanation.domain or b"\0")
    return f"domain {domain.rstrip('.') or '.'}, {explanation.origin}"


def _reason(explanation: Explanation) -> str:
    """Return why fastdns itself answers."""
    verdict = explanation.decided.verdict
    if explanation.filtering is not None and not explanation.filtering.allows:
        return filtering.told(explanation.filtering)
    if verdict == "special":
        return f"a special name, which no upstream is asked for ({explanation.special})"
    if verdict == "local":
        return _own_reason(explanation)
    if verdict == "own_domain":
        return f"a name of the local domain without a record ({_because(explanation)})"
    return _denial(explanation)


def _denial(explanation: Explanation) -> str:
    """Return why nobody is asked about a name of others."""
    verdict = explanation.decided.verdict
    if verdict == "minimal_any":
        return "one record in place of all records (protect.minimal_any, RFC 8482)"
    if verdict == "nodata" and explanation.rule is not None:
        return str(explanation.rule)
    if explanation.group is not None:
        return f"group {explanation.group.name} ({_because(explanation)})"
    return verdict.upper()


def _own_reason(explanation: Explanation) -> str:
    kind = "a wildcard of the local records" if explanation.is_wildcard else "local records"
    places = list(dict.fromkeys(str(one.origin) for one in explanation.records))
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{kind} ({places[0]}{more})"


# --- the details ----------------------------------------------------------------------------------


def _client(story: Story) -> str:
    client = story.client
    verb = "may ask" if client.may_ask else "may not ask"
    return f"{client.spelled} {verb} ({client.rule})"


def _view(story: Story) -> str:
    client = story.client
    reason = f" ({client.view_reason})" if client.view_reason else ""
    return (client.view_name or "none") + reason


def _decision(story: Story) -> Iterator[str]:
    explanation = story.explanation
    if not story.is_forwarded:
        yield _reason(explanation)
        for record in explanation.records:
            yield f"{_own_record(record)}  ({record.origin})"
        if explanation.target is not None:
            target = spell_name(explanation.target)
            yield f"it leads to {target}, which has its own story: fastdns why {target}"
    elif explanation.group is not None and explanation.domain is None:
        yield f"the servers of view {explanation.group.name}: {explanation.origin}"
    elif explanation.group is not None:
        yield f"group {explanation.group.name}: {_because(explanation)}"
        if explanation.group.fallback_to_default:
            yield "while none of its upstreams answers, those of the default group are asked"
    elif explanation.domain is not None:
        yield f"the default group: {_because(explanation)}"
    else:
        yield "the default group: not a special name, no local record, in no domain of [[forward]]"
    if explanation.filtering is not None and explanation.filtering.allows:
        yield filtering.told(explanation.filtering)
    if explanation.rule is not None:
        yield f"{explanation.rule}: {explanation.rule.rule}"
    if story.pause is not None:
        found = story.pause.filtering
        otherwise = "this name is not blocked either" if found is None else "it is "
        told = otherwise + (filtering.told(found) if found is not None else "")
        yield f"{filtering.paused(story.pause.until, time.time())}; otherwise {told}"
    if story.is_forwarded and story.plain is None and story.blocks_chains:
        yield "if its answer leads to a name that is blocked, it is blocked as well (--live asks)"


def _own_record(record: OwnRecord) -> str:
    return f"{record.ttl} {spell_type(record.rtype)} {spell_data(record.rtype, record.data)}"


def _absence(story: Story) -> str:
    rule = story.explanation.rule
    if rule is not None and not rule.rule.cache:
        return f"none: answers are not cached ({rule})"
    if story.site is None:
        return "not known"
    if story.daemon is None:
        return "none"
    return "none on disk, and none on its way there; a worker may have one in memory"


def _entry(story: Story, kept: Kept) -> Iterator[str]:
    item, entry = kept.item, kept.item.entry
    sets = [word for word, is_set in (("DO", item.key.do), ("CD", item.key.cd)) if is_set]
    variant = f" (for clients that set {' and '.join(sets)})" if sets else ""
    yield f"{TIERS[kept.tier]}, {_life(story, kept)}{variant}"
    if kept.obstacle:
        target = filtering.led(kept.target) if kept.target is not None else ""
        yield f"not served: {f'it {target}' if target else kept.obstacle}"
    elif item.state == "stale":
        seconds = in_days(story.config.cache.stale_ttl)
        yield f"served only if no upstream answers in time, then with a TTL of {seconds}"
    if item.age is None:
        yield "stored at an unknown time (the clock was set)"
    else:
        yield f"stored {_date(item.stored_at)}, {in_days(item.age)} ago"
    came_from = f"from {escape(entry.upstream)}" if entry.upstream else "from an unknown upstream"
    if entry.rtt_us:
        came_from += f" in {in_time(entry.rtt_us / 1e6)}"
    yield f"{came_from}; {in_number(entry.hits, 'hit')}, {entry.size} bytes"
    found = list(relevant(item.records()))
    answer = spell_rcode(entry.rcode) if entry.rcode or not entry.negative else "NODATA"
    if entry.negative or entry.rcode:
        yield f"{answer}: no such {'name' if entry.rcode else 'records'}"
    for one in found[:RECORDS_SHOWN]:
        yield f"{one.name} {one.ttl} {one.type} {one.data}"
    if len(found) > RECORDS_SHOWN:
        yield f"and {len(found) - RECORDS_SHOWN} more records (fastdns cache get shows all)"


def _life(story: Story, kept: Kept) -> str:
    item = kept.item
    ttl = f"{in_days(item.entry.ttl)}{_limit(story, kept)}"
    if item.age is None:
        return f"{item.state}: TTL {ttl}"
    if item.state == "fresh":
        return f"fresh: {in_days(item.ttl)} left of its TTL of {ttl}"
    return f"{item.state}: its TTL of {ttl} ended {in_days(-item.until_expiry)} ago"


def _limit(story: Story, kept: Kept) -> str:
    """Return which setting the TTL is equal to, so that the upstream may have given another one."""
    cache, entry = story.config.cache, kept.item.entry
    limits = {"negative_max_ttl": cache.negative_max_ttl} if entry.negative else {}
    limits |= {"max_ttl": cache.max_ttl, "min_ttl": cache.min_ttl}
    named = {f"cache.{key}": value for key, value in limits.items()}
    if (applied := story.explanation.rule) is not None:
        own = {"min_ttl": applied.rule.min_ttl, "max_ttl": applied.rule.max_ttl}
        named = {
            f"{applied.shown}.{key}": one for key, one in own.items() if one is not None
        } | named
    return next((f" ({key})" for key, value in named.items() if int(value) == entry.ttl), "")


def _date(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a clock with an impossible time
        return "at an impossible time"


def _upstreams(story: Story) -> Iterator[str]:
    width = max((len(escape(one.name)) for one in story.upstreams), default=0)
    for one in story.upstreams:
        yield f"{escape(one.name):<{width}}  {_state(one)}"
    if len(story.upstreams) > 1:
        group = story.explanation.group or story.config.upstream
        in_turn = group.strategy == "round-robin"
        yield "each one in its turn" if in_turn else "the first one that is alive is asked first"


def _state(asked: Asked) -> str:
    state = asked.state
    if state is None:
        return "state unknown"
    said = in_a_word(state)
    if state.alive:
        return said if state.rtt is None else f"{said}, round trip {in_time(state.rtt)}"
    if state.since:
        said += f", asked in vain {in_days(time.monotonic() - state.since)} ago"
    return f"{said} ({os.strerror(state.error)})" if state.error else said


def _daemon(story: Story) -> str:
    daemon = story.daemon
    if daemon is None:
        return "none runs: this is what it would do"
    if daemon.pid is None:
        return "not known"
    pid = f" (pid {daemon.pid})" if daemon.pid else ""
    if daemon.responds:
        return f"runs{pid}"
    return f"runs{pid}, but it does not tell its state"


# --- JSON -----------------------------------------------------------------------------------------


def as_json(story: Story, timeline: Timeline | None) -> dict[str, Any]:
    """Return the story with stable names, which the manual lists."""
    told = {
        "name": story.name,
        "type": spell_type(story.key.qtype),
        "outcome": outcome(story),
        "summary": sentence(story),
        "client": {
            "address": None if story.client.address is None else str(story.client.address),
            "may_ask": story.client.may_ask,
            "rule": story.client.rule,
            "view": story.client.view_name or None,
            "view_reason": story.client.view_reason or None,
        },
        "decision": _decision_json(story.explanation),
        "answer": _answer_json(story),
        "entries": [
            one.item.as_json()
            | {
                "tier": one.tier,
                "obstacle": one.obstacle or None,
                "blocked_target": filtering.target_json(one.target),
            }
            for one in story.kept
        ],
        "upstreams": [_upstream_json(one) for one in story.upstreams],
        "daemon": story.daemon
        and {"pid": story.daemon.pid or None, "responds": story.daemon.responds},
        "pause": story.pause
        and {
            "until": story.pause.until,
            "filtering": filtering.as_json(story.pause.filtering),
        },
        "notes": list(story.notes),
    }
    if timeline is not None:
        told["live"] = timeline.as_json()
    return told


def _decision_json(explanation: Explanation) -> dict[str, Any]:
    decided, origin = explanation.decided, explanation.origin
    return {
        "verdict": decided.verdict,
        "group": explanation.group.name if explanation.group else None,
        "domain": None if explanation.domain is None else spell_name(explanation.domain),
        "where": origin and origin.where,
        "line": origin and origin.line,
        "special": explanation.special or None,
        "rule": explanation.rule and str(explanation.rule.key),
        "rule_where": explanation.rule and explanation.rule.origin.where,
        "rule_line": explanation.rule and explanation.rule.origin.line,
        "target": None if explanation.target is None else spell_name(explanation.target),
        "records": [
            {
                "type": spell_type(one.rtype),
                "ttl": one.ttl,
                "data": spell_data(one.rtype, one.data),
                "where": one.origin.where,
                "line": one.origin.line,
            }
            for one in explanation.records
        ],
        "ede": decided.ede,
        "filtering": filtering.as_json(explanation.filtering),
    }


def _answer_json(story: Story) -> dict[str, Any] | None:
    """Return the answer that fastdns itself gives; None: an upstream is asked."""
    if story.explanation.answer is None:
        return None
    return {
        "rcode": spell_rcode(story.explanation.answer.rcode),
        "records": [
            {"name": one.name, "type": one.type, "ttl": one.ttl, "data": one.data}
            for one in _answer(story)
            if one.section == "ANSWER"
        ],
    }


def _upstream_json(asked: Asked) -> dict[str, Any]:
    state = asked.state
    if state is None:
        return {"name": asked.name, "alive": None, "state": None}
    return {
        "name": asked.name,
        "alive": state.alive,
        "state": in_a_word(state),
        "rtt_ms": None if state.rtt is None else round(state.rtt * 1000, 3),
        "queries": state.queries,
        "failures": state.failures,
        "seconds_since": round(time.monotonic() - state.since, 3) if state.since else None,
    }
