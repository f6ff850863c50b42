"""What is blocked now, for commands: by the files that the workers of a daemon follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._blocking import Blocking
from ..config.places import Places
from ..config.schema import Config
from ..config.text import path_text
from .block_lists.named import compiled_path, lists_named, open_compiled
from .blocking import compile_blocking
from .override_file import read


def blocking_now(
    config: Config,
    now: float,
    note: Callable[[str], None] = lambda line: None,
    *,
    ignores_pause: bool = False,
) -> Blocking:
    """Return what the configuration, the lists compiled last and the run-time rules block.

    `note` is called with a line for each thing that is not known. `ignores_pause`: what they block
    once a pause is over.
    """
    places = Places(Path(config.state_dir), Path(config.run_dir))
    block_set = None
    if lists_named(config):
        path = compiled_path(places)
        try:
            block_set = open_compiled(path)
        except FileNotFoundError:
            note("the block lists are not compiled yet (fastdns lists update does that)")
        except (OSError, ValueError) as error:
            note(f"the block lists are not known: {path_text(path)}: {error}")
    overrides = read(places.overrides).at(now)
    for line in overrides.problems:
        note(line)
    if ignores_pause:
        overrides = overrides.resumed()
    return compile_blocking(config, overrides, block_set, now)
