"""Refuses regular expressions that take long for some name: the matcher goes back over choices.

Anybody can ask for a name that is made for the worst case. So the steps that an
expression may take are bounded from its structure, then it is tried on long names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from .patterns import compile_pattern

TEXT_MAX = 1000  # characters
STEPS_MAX = 1 << 28
NAME_LENGTH = 253  # characters of the longest name
SECONDS_A_NAME = 0.002
PATTERNS_MAX = 1000  # in all lists: each of them is tried on each new name
LOOKED_AT_MAX = 10_000
SECONDS_IN_ALL = 10.0  # of trials
_LONG = "takes too long for some names"
_EVERY = ("a.demo", "0.test", "x-y_z.example", "www.q1.invalid", "k9")

_parser: Any = import_module("re._parser")
_op: Any = import_module("re._constants")
_ANY = frozenset(range(128))
_REPEATS = (_op.MAX_REPEAT, _op.MIN_REPEAT, _op.POSSESSIVE_REPEAT)
_CATEGORIES = {
    _op.CATEGORY_DIGIT: frozenset(b"0123456789"),
    _op.CATEGORY_SPACE: frozenset(b" \t\n\r\f\v"),
    _op.CATEGORY_WORD: frozenset(c for c in range(128) if chr(c).isalnum() or c == ord("_")),
}
_CATEGORIES |= {
    _op.CATEGORY_NOT_DIGIT: _ANY - _CATEGORIES[_op.CATEGORY_DIGIT],
    _op.CATEGORY_NOT_SPACE: _ANY - _CATEGORIES[_op.CATEGORY_SPACE],
    _op.CATEGORY_NOT_WORD: _ANY - _CATEGORIES[_op.CATEGORY_WORD],
}


class PatternCheck:
    """Says why an expression is refused; None: it is not. One is for all lists of a compilation."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._taken = 0
        self._seconds = 0.0

    def __call__(self, text: str) -> str | None:
        if len(text) > TEXT_MAX:
            return f"has more than {TEXT_MAX} characters"
        if self._taken == PATTERNS_MAX or len(self._known) == LOOKED_AT_MAX:
            return f"is beyond the first {PATTERNS_MAX:,} regular expressions of all lists"
        if self._seconds > SECONDS_IN_ALL:
            return f"was not tried: others took {SECONDS_IN_ALL:.0f} s"
        if text not in self._known:
            begin = time.thread_time()
            self._known[text] = problem = _problem(text)
            self._seconds += time.thread_time() - begin
            self._taken += problem is None
        return self._known[text]


def _problem(text: str) -> str | None:
    try:
        pattern = compile_pattern(text)
        parsed = _parser.parse(pattern.pattern, pattern.flags)
        steps = _work(parsed).steps * (1 if _is_anchored(parsed) else NAME_LENGTH)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "is nested too deeply"
    if steps > STEPS_MAX:
        return _LONG
    if all(map(pattern.search, _EVERY)):
        return "matches every name"
    for name in _trials(parsed):
        begin = time.thread_time()
        pattern.search(name)
        if time.thread_time() - begin > SECONDS_A_NAME:
            return _LONG
    return None


def _is_anchored(parsed: Iterable[Any]) -> bool:
    """Return whether it can match at the beginning of a name only."""
    for op, value in parsed:
        if op is _op.AT:
            return value in (_op.AT_BEGINNING, _op.AT_BEGINNING_STRING)
        if op is _op.SUBPATTERN:
            return _is_anchored(value[3])
        if op is _op.BRANCH:
            return all(map(_is_anchored, value[1]))
        return False
    return False


class Work(NamedTuple):
    """What a part may cost at one place of a name, at most."""

    ways: int  # in which it can match: all that follows may be tried after each of them
    steps: int

    def then(self, other: Work) -> Work:
        """Return the cost of both, one behind the other."""
        ways = min(self.ways * other.ways, STEPS_MAX + 1)
        return Work(ways, min(self.steps + self.ways * other.steps, STEPS_MAX + 1))


def _work(parsed: Iterable[Any]) -> Work:
    """Return the cost of a row of parts; ValueError: it is refused."""
    total = Work(1, 0)
    for op, value in parsed:
        total = total.then(_work_of_one(op, value))
    return total


def _work_of_one(op: Any, value: Any) -> Work:
    if op in _REPEATS:
        return _work_of_repeat(*value)
    if op in (_op.GROUPREF, _op.GROUPREF_EXISTS):
        raise ValueError("refers back to what it has matched")
    if op is _op.BRANCH:
        parts = [_work(branch) for branch in value[1]]
        return Work(sum(part.ways for part in parts), sum(part.steps for part in parts) + 1)
    if op is _op.SUBPATTERN:
        return _work(value[3])
    if op in (_op.ATOMIC_GROUP, _op.ASSERT, _op.ASSERT_NOT):  # nothing goes back into these
        return Work(1, _work(value if op is _op.ATOMIC_GROUP else value[1]).steps + 1)
    return Work(1, 1)


def _work_of_repeat(least: int, most: int, inner: Any) -> Work:
    if most <= 1:
        ways, steps = _work(inner)
        return Work(ways + most - least, steps + 1)
    if least == most:
        once, total = _work(inner), Work(1, 0)
        for _ in range(min(most, NAME_LENGTH)):
            total = total.then(once)
        return total
    _check_loop(_unwrapped(inner))
    # Its body matches in one way, so each character is looked at only a few times.
    steps = min(int(most) * _work(inner).steps, 4 * NAME_LENGTH)
    return Work(min(int(most) - least + 1, NAME_LENGTH), steps + 1)


def _unwrapped(parsed: Any) -> Any:
    while len(parsed) == 1 and parsed[0][0] is _op.SUBPATTERN:
        parsed = parsed[0][1][3]
    return parsed


def _check_loop(body: Any) -> None:
    """Raise ValueError unless what is repeated matches in one way only.

    It is a row of single characters; or alternatives that begin with different ones; or such a row
    with one repeated part, and a character in it that this part cannot match: ([a-z0-9-]+\\.)*
    """
    problem = "repeats what itself matches in several ways"
    if len(body) == 1 and body[0][0] is _op.BRANCH:
        seen: set[int] = set()
        for branch in body[0][1][1]:
            if not branch or not all(_characters(*one) is not None for one in branch):
                raise ValueError(problem)
            first = _characters(*branch[0]) or frozenset()
            if seen & first:
                raise ValueError(problem)
            seen |= first
        return
    repeated = [value for op, value in body if op in _REPEATS]
    fixed = [_characters(op, value) for op, value in body if op not in _REPEATS]
    if not fixed or None in fixed or len(repeated) > 1:
        raise ValueError(problem)
    for *_, part in repeated:
        inner = _unwrapped(part)
        matched = _characters(*inner[0]) if len(inner) == 1 else None
        if matched is None or all(matched & (one or _ANY) for one in fixed):
            raise ValueError(problem)


def _characters(op: Any, value: Any) -> frozenset[int] | None:
    """Return what a part that matches one character matches; None: it is not such a part."""
    if op is _op.LITERAL:
        return _cases(value)
    if op is _op.NOT_LITERAL:
        return _ANY - _cases(value)
    if op is _op.ANY:
        return _ANY
    if op is not _op.IN:
        return None
    found: frozenset[int] = frozenset()
    for kind, item in value:
        if kind is _op.LITERAL:
            found |= _cases(item)
        elif kind is _op.RANGE:
            for code in range(item[0], min(item[1], 127) + 1):
                found |= _cases(code)
        elif kind is _op.CATEGORY:
            found |= _CATEGORIES.get(item, _ANY)
    return _ANY - found if value[0][0] is _op.NEGATE else found


def _cases(code: int) -> frozenset[int]:
    return frozenset({code, ord(chr(code).lower()[0]), ord(chr(code).upper()[0])})


def _leaves(parsed: Iterable[Any]) -> Iterator[str]:
    """Yield a character of each part that matches one: such as names have, if there is one."""
    for op, value in parsed:
        matched = _characters(op, value)
        if matched:
            usual = [code for code in sorted(matched) if chr(code) in "0a-.z_"]
            yield chr(usual[0] if usual else min(matched))
        elif op in _REPEATS:
            yield from _leaves(value[2])
        elif op is _op.BRANCH:
            for branch in value[1]:
                yield from _leaves(branch)
        elif op is _op.SUBPATTERN:
            yield from _leaves(value[3])
        elif op is _op.ATOMIC_GROUP:
            yield from _leaves(value)


def _trials(parsed: Iterable[Any]) -> Iterator[str]:
    """Yield names that its parts match as often as possible, and that it does not match."""
    leaves = "".join(_leaves(parsed)) or "a"
    distinct = "".join(dict.fromkeys(leaves + "a0.-"))[:12]
    for part in (leaves, *distinct, *(one + "." for one in distinct), distinct, leaves[::-1]):
        yield (part * (NAME_LENGTH // len(part) + 1))[: NAME_LENGTH - 1] + "\x7f"
