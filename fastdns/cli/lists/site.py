"""The lists of a configuration, and where a daemon has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from ...config.load import load
from ...config.places import Places
from ...config.schema import Config
from ...config.text import describe, path_text
from ...config.values import AnyList
from ...errors import FastdnsError
from ...lists.store import Store
from ...policy.block_lists.named import lists_named


@attrs.frozen
class ListsSite:
    """What the commands work with."""

    config: Config
    places: Places
    lists: Sequence[AnyList]
    store: Store


def find_lists(path: Path | None, state: str | None) -> ListsSite:
    """Return the lists; FastdnsError: none are configured."""
    config = load(path, state=state)
    lists = lists_named(config)
    if not lists:
        raise FastdnsError(
            "no block lists are configured (name some in the configuration: "
            '[block] lists = ["https://lists.example/hosts"])'
        )
    places = Places(config.state_dir, config.run_dir)
    return ListsSite(config, places, lists, Store(places))


def number_of_view(config: Config, name: str | None) -> int:
    """Return the number of a view, 0 without a name. FastdnsError: there is no such view."""
    names: list[str] = [one.name for one in config.view]
    if name is None:
        return 0
    if name not in names:
        known = f"there are {', '.join(names)}" if names else "there is none"
        raise FastdnsError(f"view {describe(name)} is not in the configuration ({known})")
    return names.index(name) + 1


def check_readable(site: ListsSite) -> None:
    """Check that the copies can be read. FastdnsError says why not."""
    place = site.places.lists
    try:
        os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise FastdnsError(f"{path_text(place)}: {error.strerror} (try sudo)") from None


def chosen_of(lists: Sequence[AnyList], words: Sequence[str]) -> list[AnyList]:
    """Return the lists that are meant: each word is a list, or a part that only one has."""
    chosen: list[AnyList] = []
    for word in words:
        found = [one for one in lists if str(one) == word]
        found = found or [one for one in lists if word in str(one)]
        if len(found) != 1:
            said = path_text(word)
            problem = f'{len(found)} lists have "{said}" in their names'
            if not found:
                problem = f'no list has "{said}" in its name'
            names = ", ".join(path_text(one) for one in found or lists)
            raise FastdnsError(f"{problem}: {names}")
        chosen += found
    return list(dict.fromkeys(chosen))
