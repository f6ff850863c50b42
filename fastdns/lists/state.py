"""What is known of one list between two updates: kept beside its copy, as JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import attrs

from .._siphash import siphash
from ..config.values import AnyList

# A machine without a clock of its own takes up its last known time at a boot, which may be earlier
# than what it has noted. What is later by more than this was noted by a wrong clock.
CLOCK_SECONDS = 86400.0
_KEY = bytes(16)
RETRY_SECONDS = (300.0, 900.0, 3600.0, 10800.0)  # after the first failure, the second …


@attrs.frozen
class Version:
    """What the server says of the text that it sends, to be asked whether it has another one."""

    etag: str = ""
    last_modified: str = ""


@attrs.frozen
class Faulty:
    """A line that no format has."""

    line: int
    text: str
    reason: str


@attrs.frozen
class Figures:
    """What was found in a list."""

    taken: int = 0
    left_out: dict[str, int] = attrs.Factory(dict)  # by reason
    faulty: int = 0
    first_faulty: tuple[Faulty, ...] = ()


@attrs.frozen
class Timers:
    """The SOA record of a zone that is transferred, in seconds."""

    serial: int
    refresh: float
    retry: float
    expire: float


NO_VERSION = Version()
NO_FIGURES = Figures()


@attrs.frozen
class State:
    """One list. Times are those of the wall clock; 0.0: never."""

    url: str
    digest: str = ""  # of the text of the copy; "": there is none
    octets: int = 0  # of that text
    version: Version = NO_VERSION
    file: tuple[int, int] | None = None  # of a file: when it changed, and its size
    timers: Timers | None = None  # of a zone
    fetched_at: float = 0.0  # when the copy was made
    checked_at: float = 0.0  # when the copy was last known to be the newest
    tried_at: float = 0.0
    failures: int = 0  # since then
    error: str = ""  # of the last try
    spread: float = 1.0  # of the time to the next check, so that many machines do not come at once
    figures: Figures = NO_FIGURES

    def is_expired(self, now: float) -> bool:
        """Whether it is a zone whose owner no longer vouches for this copy (RFC 1035)."""
        return self.timers is not None and now > self.checked_at + self.timers.expire

    def due_at(self, update: float, now: float) -> float:
        """Return when it is to be checked next. `update` is that of the configuration."""
        if self.tried_at > now + CLOCK_SECONDS:
            return now
        if self.timers is not None and self.digest:
            return self.tried_at + (self.timers.retry if self.failures else self.timers.refresh)
        if self.failures:
            pause = RETRY_SECONDS[min(self.failures, len(RETRY_SECONDS)) - 1]
            return self.tried_at + min(pause, update)
        return self.tried_at + update * self.spread


def key_of(one: AnyList) -> str:
    """Return the name of the files of a list."""
    return f"{siphash(_KEY, str(one).encode(errors='surrogateescape')):016x}"


def to_json(state: State) -> str:
    return json.dumps(attrs.asdict(state), ensure_ascii=False)


def from_json(text: str, url: str) -> State:
    """Return the state; that of a list that was never fetched if the text is not one of this URL.

    Another version of fastdns may have written it: what is missing has its default.
    """
    with suppress(ValueError, TypeError, KeyError):
        found: dict[str, Any] = json.loads(text)
        if found["url"] != url:
            return State(url)
        known = {one.name: found[one.name] for one in attrs.fields(State) if one.name in found}
        known["version"] = Version(**known["version"])
        known["file"] = tuple(known["file"]) if known["file"] else None
        known["timers"] = Timers(**known["timers"]) if known["timers"] else None
        figures = known["figures"]
        figures["first_faulty"] = tuple(Faulty(**one) for one in figures["first_faulty"])
        known["figures"] = Figures(**figures)
        return State(**known)
    return State(url)
