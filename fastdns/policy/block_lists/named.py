"""The lists that a configuration names, and the file in which they are compiled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..._block_set import BlockSet
from ...config.places import Places
from ...config.schema import Config
from ...config.values import AnyList


def lists_named(config: Config) -> tuple[AnyList, ...]:
    """Return the lists of [block] and of all views, each once, in their order."""
    named: list[AnyList] = [*config.block.lists, *config.block.allow_lists]
    for view in config.view:
        named += (*(view.lists or ()), *(view.allow_lists or ()))
    return tuple(dict.fromkeys(named))


def compiled_path(places: Places) -> Path:
    """Return the file of the compiled lists. A newer one replaces it by renaming."""
    return places.lists / "compiled"


def source_numbers(lists: Iterable[AnyList], block_set: BlockSet) -> dict[AnyList, int]:
    """Return the number of each list in the compiled file; of those that it has."""
    numbers = {one["url"]: number for number, one in enumerate(block_set.sources)}
    return {one: numbers[str(one)] for one in lists if str(one) in numbers}
