"""What an update has done, in lines for the log and for commands."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..config.text import path_text
from ..config.values import AnyList
from .state import Figures, State
from .update import Outcome


def lines_of_success(outcome: Outcome) -> Iterator[str]:
    """Yield a line for each list that has changed."""
    for one, state in outcome.renewed:
        yield f"{path_text(one)}: {spell_figures(state.figures)}"


def lines_of_failure(outcome: Outcome, now: float) -> Iterator[str]:
    """Yield a line for each list that could not be had, and for what else went wrong."""
    for one, state in outcome.failed:
        yield f"{path_text(one)} {path_text(state.error)}; {_what_stays(one, state, now)}"
    if outcome.problem:
        yield outcome.problem


def spell_figures(figures: Figures) -> str:
    """Return what was found in a list: "250,000 entries, 12 left out, 3 lines are faulty"."""
    words = [f"{figures.taken:,} {'entry' if figures.taken == 1 else 'entries'}"]
    if left_out := sum(figures.left_out.values()):
        words.append(f"{left_out:,} left out")
    if figures.faulty:
        words.append(
            f"{figures.faulty:,} {'line is' if figures.faulty == 1 else 'lines are'} faulty"
        )
    return ", ".join(words)


def _what_stays(one: AnyList, state: State, now: float) -> str:
    if not state.digest:
        return "there is no copy of it"
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.fetched_at))
    if state.is_expired(now):
        return f"its copy of {date} has expired and is not used"
    return f"its copy of {date} stays in use"
