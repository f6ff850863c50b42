"""Typed errors that are told to the owner, each in one line."""

from __future__ import annotations


class FastdnsError(Exception):
    """Anything that fastdns tells its owner about in one line."""


class ConfigError(FastdnsError):
    """One wrong value: the key path it stands under and what is the matter with it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class ConfigErrors(FastdnsError):
    """All that is wrong with a configuration, one printable line each, file and key included."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StartError(FastdnsError):
    """The daemon cannot start; the text names the cause and the remedy."""
