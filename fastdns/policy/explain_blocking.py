"""Explains why a name is blocked, or is not: which list with which line, or which rule."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO

import attrs

from .._block_set import ALLOWS
from .._blocking import Blocking
from .._key import name_of, split_key
from .._list_reader import Line, LineFinder
from .._policy import Decided, Policy
from ..config.schema import Config
from .blocking import About, RuleSet
from .origin import Origin, suffix

PART = 1 << 20  # bytes of a list that are read at once
OpenList = Callable[[str], IO[bytes] | None]  # the good copy of a list, as the configuration has it


@attrs.frozen
class Filtering:
    """What concerns a name, and is the reason for a decision about it: see REASONS in _blocking.

    `domain`: that the list or rule names, in wire form. `source`: the list, as the configuration
    spells it; "": a rule.
    """

    reason: str
    domain: bytes
    source: str = ""
    origin: Origin | None = None  # a key, or the line of a list
    text: str = ""  # that line, or the regular expression

    @property
    def blocks(self) -> bool:
        return self.reason in ("list", "rule", "pattern")

    @property
    def allows(self) -> bool:
        return self.reason.startswith("allowed")


@attrs.frozen
class BlockedTarget:
    """A name that is blocked, and to which an answer leads by a CNAME record."""

    name: bytes
    filtering: Filtering


def blocked_target(
    config: Config,
    policy: Policy,
    key: bytes,
    targets: Iterable[bytes],
    open_list: OpenList | None = None,
) -> BlockedTarget | None:
    """Return the target of CNAME records that blocks the answer to the question of a key, if any.

    `targets`: those of the answer. None also if the name of the question is allowed by itself: then
    its answer passes, wherever it leads.
    """
    decided, blocking = policy.decide(key), policy.blocking
    if not blocking.blocks or decided.reason.startswith("allowed"):
        return None
    qtype, view = split_key(key)[1], split_key(key)[5]
    for name in targets:
        reason, labels, source, _ = blocking.find(name, qtype, view)
        found = explain_blocking(
            *(config, blocking, decided._replace(reason=reason, source=source), name),
            labels=labels,
            open_list=open_list,
        )
        if name != name_of(key) and found is not None and found.blocks:
            return BlockedTarget(name, found)
    return None


def explain_blocking(
    config: Config,
    blocking: Blocking,
    decided: Decided,
    name: bytes,
    *,
    labels: int,
    open_list: OpenList | None = None,
) -> Filtering | None:
    """Return the reason that a decision about a name gives; None: there is none.

    `labels`: of the domain by which the name is blocked or allowed. `open_list`: where the line of
    a list is looked for.
    """
    about, reason = blocking.about, decided.reason
    if not reason or not isinstance(about, About):
        return None
    domain = suffix(name, labels)
    if reason == "safe_search":
        return Filtering(reason, name)
    if reason in ("rule", "allowed_by_rule"):
        origin = _place(config, about.rule_sets[decided.source - 1], domain)
        return Filtering(reason, domain, origin=origin)
    source = about.sources[decided.source - 1]
    pattern = ""
    if reason.endswith("pattern"):
        found = (
            about.pattern_texts[number]
            for number in blocking.matches(name)
            if blocking.patterns[number].source == decided.source - 1
        )
        pattern = next(found, "")
    line = _line(open_list, source, name, pattern, labels, allows=reason.startswith("allowed"))
    if line is None:
        return Filtering(reason, domain, source, text=f"/{pattern}/" if pattern else "")
    return Filtering(reason, domain, source, Origin(source, line.number), line.text)


def _place(config: Config, rules: RuleSet, domain: bytes) -> Origin:
    """Return where a rule of the user is written."""
    table, _, field = rules.where.rpartition(".")
    if not table:
        return Origin("")
    section = next((one for one in config.view if one.name == rules.view), None) or config.block
    written = [one.wire for one in getattr(section, field)]
    place = f"[{written.index(domain)}]" if domain in written else ""
    return Origin(f"{rules.where}{place}")


def _line(
    open_list: OpenList | None, source: str, name: bytes, pattern: str, labels: int, *, allows: bool
) -> Line | None:
    """Return the line of a list that concerns the name: the one that has decided, if it is there.

    The list may have changed since it was compiled.
    """
    finder = LineFinder(name=None if pattern else name, pattern=pattern or None)
    with suppress(OSError, EOFError, zlib.error):
        stream = open_list(source) if open_list is not None else None
        if stream is None:
            return None
        with stream:
            while part := stream.read(PART):
                finder.feed(part)
        finder.finish()

    def differs(line: Line) -> tuple[bool, bool]:
        return line.labels != labels and not pattern, bool(line.flags & ALLOWS) != allows

    return min(finder.found, key=differs, default=None)
