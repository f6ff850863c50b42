"""Rules made at run time, by `fastdns allow`, `deny` and `pause`; override_file.py keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

RULES_MAX = 10_000


@attrs.frozen
class Override:
    """A rule for a domain and all names under it; `domain` is in wire form, lower case.

    `view`: only for its clients; None: for all clients. `until`: by the wall clock; None: for ever.
    """

    domain: bytes
    text: str
    allows: bool  # else it blocks
    view: str | None = None
    until: float | None = None

    @property
    def word(self) -> str:
        """The command that makes such a rule, which is also its key in the file."""
        return "allow" if self.allows else "deny"

    @property
    def place(self) -> tuple[bytes, str | None]:
        """Two rules with the same cannot both hold: the newer one replaces the older one."""
        return self.domain, self.view


@attrs.frozen
class Overrides:
    """All rules made at run time, in the order in which they were made.

    `version` tells one state of the file from another; 0: there is no file.
    """

    rules: tuple[Override, ...] = ()
    paused_until: float | None = None  # by the wall clock; None: until it is resumed
    is_paused: bool = False  # nothing is blocked
    version: int = attrs.field(default=0, eq=False)
    problems: tuple[str, ...] = attrs.field(default=(), eq=False)  # lines that name file and line

    def at(self, now: float) -> Overrides:
        """Return what is still in force at this time of the wall clock."""
        rules = tuple(one for one in self.rules if one.until is None or one.until > now)
        is_paused = self.is_paused and (self.paused_until is None or self.paused_until > now)
        until = self.paused_until if is_paused else None
        return attrs.evolve(self, rules=rules, is_paused=is_paused, paused_until=until)

    def next_change(self, now: float) -> float | None:
        """Return when a rule or the pause ends next; None: never."""
        return min((one for one in self._ends() if one > now), default=None)

    @property
    def has_ends(self) -> bool:
        """Whether something in it ends, or has ended, at a time."""
        return any(True for _ in self._ends())

    @property
    def summary(self) -> str:
        """What is in force, for the log."""
        count = f"{len(self.rules):,} in force" if self.rules else "none in force"
        return f"{count}, blocking is paused" if self.is_paused else count

    def find(self, domain: bytes, view: str | None) -> Override | None:
        """Return the rule of exactly this domain and view."""
        return next((one for one in self.rules if one.place == (domain, view)), None)

    def with_rule(self, rule: Override) -> Overrides:
        """Add the rule, or put it in the place of the one for its domain and view.

        OverflowError: there are too many.
        """
        rules = list(self.rules)
        for number, one in enumerate(rules):
            if one.place == rule.place:
                rules[number] = rule
                break
        else:
            if len(rules) >= RULES_MAX:
                raise OverflowError
            rules.append(rule)
        return attrs.evolve(self, rules=tuple(rules))

    def without(self, *rules: Override) -> Overrides:
        """Return the rest."""
        return attrs.evolve(self, rules=tuple(one for one in self.rules if one not in rules))

    def paused(self, until: float | None) -> Overrides:
        """Return the same with blocking paused until then, or for ever."""
        return attrs.evolve(self, is_paused=True, paused_until=until)

    def resumed(self) -> Overrides:
        """Return the same without a pause."""
        return attrs.evolve(self, is_paused=False, paused_until=None)

    def _ends(self) -> Iterator[float]:
        if self.is_paused and self.paused_until is not None:
            yield self.paused_until
        for one in self.rules:
            if one.until is not None:
                yield one.until
