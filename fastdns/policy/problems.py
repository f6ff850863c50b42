"""What is wrong with a file, in a few lines."""

from __future__ import annotations

from ..config.text import describe

PROBLEMS_MAX = 10  # lines told about one file; the first few say what is wrong with it


def shortened(
    problems: list[str], name: str, wrong: int, what: str = "lines are wrong"
) -> list[str]:
    """Return the first problems of a file, and how many lines of it are wrong besides these."""
    told = problems[:PROBLEMS_MAX]
    if wrong > len(told):
        told.append(f"{name}: {wrong - len(told)} more {what}")
    return told


def wrong_lines(name: str, wrong: int, first: list[tuple[int, str, str]]) -> list[str]:
    """Return what is wrong with a file, from what a reader in C tells."""
    told = [f"{name}:{line}: {describe(part)} {problem}" for line, part, problem in first]
    return shortened(told, name, wrong)
