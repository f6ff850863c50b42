"""Why a name is blocked, or allowed, in words and as JSON."""

from __future__ import annotations

from typing import Any

from ...browse.names import spell_name
from ...config.text import path_text
from ...policy.explain_blocking import BlockedTarget, Filtering
from ..figures import in_clock


def told(found: Filtering) -> str:
    """Return it in a sentence without a subject."""
    if found.reason == "safe_search":
        return "safe search: the name of a search engine stands for its safe host"
    verb = "allowed" if found.allows else "blocked"
    domain = spell_name(found.domain)
    if found.reason.endswith("rule"):
        place = str(found.origin) if found.origin and found.origin.where else "made at run time"
        return f"{verb} by your rule for {domain} ({place})"
    what = "a regular expression of list" if found.reason.endswith("pattern") else "list"
    line = f", line {found.origin.line}" if found.origin else ""
    text = f": {path_text(found.text)}" if found.text else f", which has {domain}"
    return f"{verb} by {what} {path_text(found.source)}{line}{text}"


def paused(until: float | None, now: float) -> str:
    """Return that blocking is paused, and until when."""
    return "blocking is paused" + ("" if until is None else f" until {in_clock(until, now)}")


def led(target: BlockedTarget) -> str:
    """Return why an answer is blocked by where it leads, without a subject."""
    return f"leads to {spell_name(target.name)}, which is {told(target.filtering)}"


def target_json(target: BlockedTarget | None) -> dict[str, Any] | None:
    """Return it with stable names."""
    if target is None:
        return None
    return {"name": spell_name(target.name), "filtering": as_json(target.filtering)}


def as_json(found: Filtering | None) -> dict[str, Any] | None:
    """Return it with stable names."""
    if found is None:
        return None
    return {
        "reason": found.reason,
        "domain": spell_name(found.domain),
        "list": found.source or None,
        "where": found.origin.where or None if found.origin else None,
        "line": found.origin.line if found.origin else None,
        "text": found.text or None,
    }
