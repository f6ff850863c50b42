"""Compiles [block], [[view]] and the rules made at run time: which names are blocked, for whom.

A class is the number of a view in keys and decisions: 0 are clients in no view, then the views in
the order of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from .._block_set import (
    ALLOWS,
    ANSWER_NULL,
    ANSWER_NXDOMAIN,
    ANSWER_REFUSED,
    ITSELF,
    UNDER,
    BlockSet,
    BlockSetBuilder,
)
from .._blocking import ALL_VIEWS, NOTE_OCTETS_MAX, ROLES, Blocking, Pattern, ViewSettings
from .._local import LocalRecords
from .._policy import Policy
from ..config.filters import View
from ..config.schema import Config
from ..config.values import AnyList, Domain
from .block_lists.patterns import compile_pattern
from .overrides import Overrides
from .safe_search import safe_names

UNUSED, BLOCKS, EXCEPTS = ROLES
ANSWERS = {"null": ANSWER_NULL, "nxdomain": ANSWER_NXDOMAIN, "refused": ANSWER_REFUSED}


NO_OVERRIDES = Overrides()


@attrs.frozen
class RuleSet:
    """The user's rules of one place.

    `where`: a key; "" for those made at run time. `view`: None is for all clients.
    """

    where: str
    view: str | None
    allows: bool
    domains: tuple[bytes, ...] = attrs.field(repr=False)

    @property
    def note(self) -> bytes:
        """What a client is told; the domain follows."""
        return b"rule"


@attrs.frozen
class About:
    """What the numbers of a Blocking stand for: those in a Decided are one more."""

    rule_sets: tuple[RuleSet, ...]
    sources: tuple[str, ...]  # of lists, as the configuration spells them
    pattern_texts: tuple[str, ...]  # of its patterns
    is_paused: bool = False
    paused_until: float | None = None  # by the wall clock; None: until it is resumed


def compile_blocking(
    config: Config,
    overrides: Overrides = NO_OVERRIDES,
    block_set: BlockSet | None = None,
    now: float = 0.0,
) -> Blocking:
    """Return what the configuration, the rules in force `now` and the compiled lists decide.

    `block_set`: None, and lists that it does not have: they are not there yet. The worker makes
    another one, and a Policy with it for `Cache.use_policy`, when the file of lists or the rules
    change, or the time of a rule or pause is over.
    """
    lists = BlockSet() if block_set is None else block_set
    sources = tuple(map(source_name, lists.sources))
    in_force = overrides.at(now)
    views = tuple(_views(config, sources, is_paused=in_force.is_paused))
    sets = tuple(one for one in _rule_sets(config, in_force) if one.domains)
    numbers: dict[str, int] = {view.name: place for place, view in enumerate(config.view, start=1)}
    patterns, texts = _patterns(lists, views)
    return Blocking(
        views,
        rules=_compiled(sets),
        rule_views=[ALL_VIEWS if one.view is None else numbers[one.view] for one in sets],
        lists=lists,
        patterns=patterns,
        safe_names=_safe_names(config),
        ttl=int(config.block.ttl),
        list_notes=[_note(one) for one in sources],
        rule_notes=[one.note for one in sets],
        about=About(sets, sources, texts, in_force.is_paused, in_force.paused_until),
    )


def with_blocking(policy: Policy, blocking: Blocking | None) -> Policy:
    """Return the same policy, but for what is blocked. None: nothing is."""
    return Policy(
        policy.group,
        policy.domains,
        policy.local,
        rules=policy.rules,
        protection=policy.protection,
        blocking=blocking,
    )


def source_name(source: Any) -> str:
    """Return how the configuration spells a list of a compiled file."""
    return str(source["url"] if isinstance(source, dict) else source)


def shown_source(spelled: str) -> str:
    """Return a list's name for clients: without what may be secret in its address."""
    if spelled.startswith("file:"):
        return spelled.rpartition("/")[2].removeprefix("file:")
    try:
        parts = urlsplit(spelled)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return spelled.partition("?")[0]


def _note(source: str) -> bytes:
    text = f"list {shown_source(source)}".encode("utf-8", "replace")[:NOTE_OCTETS_MAX]
    return text.decode("utf-8", "ignore").encode()


# --- what each class does -------------------------------------------------------------------------


def _views(config: Config, sources: Sequence[str], *, is_paused: bool) -> Iterator[ViewSettings]:
    block = config.block
    yield ViewSettings(
        blocks=not is_paused,
        answer=ANSWERS[block.answer],
        roles=_roles(sources, block.lists, block.allow_lists),
    )
    for view in config.view:
        yield ViewSettings(
            blocks=view.block and not is_paused,
            answer=ANSWERS[view.answer or block.answer],
            roles=_roles(sources, *lists_of_view(config, view)),
            group=view.number if view.servers else 0,
            safe_search=view.safe_search,
        )


def lists_of_view(
    config: Config, view: View | None
) -> tuple[tuple[AnyList, ...], tuple[AnyList, ...]]:
    """Return the lists that block and those that allow, for clients of a view or of none."""
    block = config.block
    if view is None:
        return block.lists, block.allow_lists
    return (
        block.lists if view.lists is None else view.lists,
        block.allow_lists if view.allow_lists is None else view.allow_lists,
    )


def _roles(
    sources: Sequence[str], lists: Sequence[AnyList], allow_lists: Sequence[AnyList]
) -> bytes:
    roles = dict.fromkeys(map(str, lists), BLOCKS) | dict.fromkeys(map(str, allow_lists), EXCEPTS)
    return bytes(roles.get(one, UNUSED) for one in sources)


def _safe_names(config: Config) -> LocalRecords | None:
    return safe_names() if any(view.safe_search for view in config.view) else None


# --- the user's rules -----------------------------------------------------------------------------


def _rule_sets(config: Config, overrides: Overrides) -> Iterator[RuleSet]:
    """Yield the sets in the order in which they count at one domain."""
    names: list[str | None] = [*(view.name for view in config.view), None]
    for name in names:
        for allows in (True, False):
            domains = (
                one.domain for one in overrides.rules if (one.view, one.allows) == (name, allows)
            )
            yield RuleSet("", name, allows, tuple(domains))
    for place, view in enumerate(config.view):
        yield RuleSet(f"view[{place}].allow", view.name, True, _wires(view.allow))
        yield RuleSet(f"view[{place}].deny", view.name, False, _wires(view.deny))
    yield RuleSet("block.allow", None, True, _wires(config.block.allow))
    yield RuleSet("block.deny", None, False, _wires(config.block.deny))


def _wires(domains: Sequence[Domain]) -> tuple[bytes, ...]:
    return tuple(one.wire for one in domains)


def _compiled(sets: Sequence[RuleSet]) -> BlockSet | None:
    if not sets:
        return None
    builder = BlockSetBuilder()
    for number, one in enumerate(sets):
        flags = ITSELF | UNDER | (ALLOWS if one.allows else 0)
        for domain in one.domains:
            builder.add(domain, number, flags)
    return BlockSet(builder.compile())


# --- regular expressions --------------------------------------------------------------------------


def _patterns(
    lists: BlockSet, views: Sequence[ViewSettings]
) -> tuple[list[Pattern], tuple[str, ...]]:
    """Return those of lists that some class uses, and their texts."""
    found: list[Pattern] = []
    texts: list[str] = []
    for text, source, flags, action, types in lists.patterns:
        if not any(view.roles[source] for view in views):
            continue
        try:
            search = compile_pattern(text).search
        except ValueError:  # another Python has compiled the lists
            continue
        found.append(Pattern(search, source, flags, types, action))
        texts.append(text)
    return found, tuple(texts)
