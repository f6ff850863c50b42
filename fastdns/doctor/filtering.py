"""Block lists: which of them could not be renewed?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..config.places import Places
from ..config.schema import Config
from ..lists.trouble import lists_in_trouble
from .commands import Commands
from .findings import Finding, hint

ABOUT = "block lists"


def look(config: Config, commands: Commands) -> Iterator[Finding]:
    """Name each list whose last download failed, as far as this user can see that."""
    places = Places(config.state_dir, config.run_dir)
    for line in lists_in_trouble(places, time.time()):
        text = line.removeprefix("block list ")
        yield hint(ABOUT, text, f"{commands.line('lists update')} tries again")
