"""What a reload has changed of [block] and [[view]], in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..config.filters import Block
from ..config.schema import Config

TOLD_MAX = 5  # lists, or views, that are named


def filter_changes(was: Config, now: Config) -> Iterator[str]:
    """Yield a line about [block] and one about all views, each only if it has changed."""
    if parts := list(_changes_of_block(was.block, now.block)):
        yield f"block: {', '.join(parts)}"
    former = {view.name: view for view in was.view}
    views = {view.name: view for view in now.view}
    added = [name for name in views if name not in former]
    removed = [name for name in former if name not in views]
    changed = [name for name, view in views.items() if former.get(name, view) != view]
    counts = ((added, "new"), (changed, "changed"), (removed, "removed"))
    if parts := [f"{_named(names)} {word}" for names, word in counts if names]:
        yield f"views: {', '.join(parts)}"
    elif list(views) != list(former):
        yield "views: another order"


def _changes_of_block(was: Block, now: Block) -> Iterator[str]:
    for field in ("lists", "allow_lists", "allow", "deny"):
        before, after = getattr(was, field), getattr(now, field)
        if added := [str(one) for one in after if one not in before]:
            yield f"{field} has {_named(added)} now"
        if removed := [str(one) for one in before if one not in after]:
            yield f"{field} no longer has {_named(removed)}"
    for name in ("answer", "ttl", "update"):
        if getattr(was, name) != getattr(now, name):
            yield f"another {name}"


def _named(names: Sequence[str]) -> str:
    shown = " ".join(names[:TOLD_MAX])
    return shown if len(names) <= TOLD_MAX else f"{shown} and {len(names) - TOLD_MAX} more"
