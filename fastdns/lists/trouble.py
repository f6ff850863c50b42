"""Names the lists whose last download failed, from what is kept in state_dir: no configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..config.places import Places
from ..config.text import path_text
from .state import State
from .store import states_in


def lists_in_trouble(places: Places, now: float) -> Iterator[str]:
    """Yield a line for each list that could not be renewed; none if this user cannot see that."""
    for state in states_in(places):
        if state.digest and state.is_expired(now):
            copy = f"its copy of {_date(state)}"
            yield f"{_name(state)}: {copy} has expired and is not used{_why(state)}"
        elif state.failures and state.digest:
            yield f"{_name(state)}: its copy of {_date(state)} stays in use{_why(state)}"
        elif state.failures:
            yield f"{_name(state)}: there is no copy of it{_why(state)}"


def _name(state: State) -> str:
    return f"block list {path_text(state.url)}"


def _date(state: State) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(state.fetched_at))


def _why(state: State) -> str:
    return f"; last try: it {path_text(state.error)}" if state.error else ""
