"""A .pyi describes its compiled module truly, and all of its public part."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, ClassMethodDescriptorType, ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
STUBS = sorted((ROOT / "fastdns").glob("*.pyi"))


class Signature(NamedTuple):
    """What callers depend on: names, their order, and what they may leave out. No types."""

    positional: tuple[tuple[str, bool], ...]  # (name, has a default)
    keyword_only: frozenset[tuple[str, bool]]
    args: bool  # *args, whatever its name
    kwargs: bool

    def __str__(self) -> str:
        plain, named = (
            [name + "=..." * has_default for name, has_default in part]
            for part in (self.positional, sorted(self.keyword_only))
        )
        star = ["*args"] if self.args else ["*"] if named else []
        return f"({', '.join([*plain, *star, *named, *['**kwargs'] * self.kwargs])})"


NOTHING = Signature((), frozenset(), args=False, kwargs=False)


def parameters(text: str) -> list[str]:
    """Return the parts between the parentheses that `text` begins with: Cython's, not Python's."""
    parts, depth, quote = [""], 0, ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark in "([{":
            depth += 1
            if depth == 1:
                continue
        elif mark in ")]}":
            depth -= 1
            if not depth:
                break
        elif mark == "," and depth == 1:
            parts.append("")
            continue
        parts[-1] += mark
    return [part.strip() for part in parts if part.strip()]


def cython_signature(text: str) -> Signature:
    """Read "(self, bytes key=None, *, x)", of a docstring or a source. `self` is left out."""
    positional: list[tuple[str, bool]] = []
    keyword_only: list[tuple[str, bool]] = []
    args = kwargs = False
    to = positional
    for part in parameters(text):
        if part == "/":
            continue
        if part.startswith("**"):
            kwargs = True
        elif part.startswith("*"):
            args, to = part != "*", keyword_only
        else:
            declared, default, _ = part.partition("=")
            # "uint16_t number", "key: bytes", "Group group not None"
            words = re.findall(r"\w+", re.sub(r"\s+(?:not|or)\s+None\s*$|:.*", "", declared))
            to.append((words[-1], bool(default)))
    if positional[:1] in ([("self", False)], [("cls", False)]):
        del positional[0]
    return Signature(tuple(positional), frozenset(keyword_only), args, kwargs)


def stub_signature(function: ast.FunctionDef, *, is_bound: bool) -> Signature:
    given = function.args
    plain = [one.arg for one in (*given.posonlyargs, *given.args)]
    required = len(plain) - len(given.defaults)
    return Signature(
        tuple((name, at >= required) for at, name in enumerate(plain))[is_bound:],
        frozenset(
            (one.arg, default is not None)
            for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        ),
        given.vararg is not None,
        given.kwarg is not None,
    )


def documented(thing: Any, name: str) -> Signature | None:
    """Return what `embedsignature` has put into the docstring; None: this build says nothing."""
    match = re.match(rf"(?:\w+\.)*{re.escape(name)}(?=\()", thing.__doc__ or "")
    return cython_signature(thing.__doc__[match.end() :]) if match else None


class Member(NamedTuple):
    kind: str  # method, static method, class method or attribute
    signature: Signature | None


def stub_members(definition: ast.ClassDef) -> dict[str, Member]:
    members = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            members[node.target.id] = Member("attribute", None)
        elif isinstance(node, ast.FunctionDef):
            marks = {ast.unparse(mark) for mark in node.decorator_list}
            if any(mark == "property" or mark.endswith((".setter", ".deleter")) for mark in marks):
                members[node.name] = Member("attribute", None)
                continue
            is_static = "staticmethod" in marks
            kind = "class method" if "classmethod" in marks else "method"
            members[node.name] = Member(
                "static method" if is_static else kind,
                stub_signature(node, is_bound=not is_static),
            )
    return members


def kind_of(member: Any) -> str:
    if isinstance(member, (staticmethod, BuiltinFunctionType)):  # the latter: Cython 0.29
        return "static method"
    if isinstance(member, (classmethod, ClassMethodDescriptorType)):
        return "class method"
    return "method" if inspect.isroutine(member) else "attribute"


class Stubs:
    """All .pyi files, and the .pyx files for what a compiled module does not tell of itself."""

    def __init__(self, **texts: str) -> None:
        """`texts` stand for the files of those modules."""
        self._texts = texts
        self._trees: dict[str, ast.Module] = {}

    def tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            file = ROOT / "fastdns" / f"{module}.pyi"
            text = self._texts.get(module) or (file.read_text() if file.exists() else "")
            self._trees[module] = ast.parse(text, str(file))
        return self._trees[module]

    def source(self, module: str) -> str:
        file = ROOT / "ext" / "fastdns" / f"{module}.pyx"
        return re.sub(r"#[^\n]*", "", file.read_text()) if file.exists() else ""

    def members(self, cls: type) -> dict[str, Member]:
        """Return what the stubs say of this class, with what it inherits."""
        found: dict[str, Member] = {}
        for base in reversed(cls.__mro__):
            for node in self.tree(part_of(base)).body:
                if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                    found |= stub_members(node)
        return found

    def constructor(self, cls: type) -> Signature | None:
        """Return what this class is made of: Cython documents `__init__` but not `__cinit__`.

        Each class on the way up has its `__cinit__` called with all of it.
        """
        found = documented(cls, cls.__name__)
        for base in cls.__mro__ if found is None else ():
            match = re.search(
                rf"^cdef class {base.__name__}\b.*\n(?:(?!\S).*\n)*?    def __cinit__(?=\()",
                self.source(part_of(base)),
                re.M,
            )
            if match:
                own = cython_signature(match.string[match.end() :])
                if found is None:
                    found = own
                elif found.kwargs:
                    found = found._replace(keyword_only=found.keyword_only | own.keyword_only)
        return found


def part_of(thing: Any) -> str:
    return thing.__module__.rpartition(".")[2]


def tuple_problems(cls: Any, node: ast.ClassDef) -> Iterator[str]:
    said = [
        (ast.unparse(field.target), field.value is not None)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    ]
    real = [(name, name in cls._field_defaults) for name in getattr(cls, "_fields", ())]
    if said != real:
        yield f" has the fields {real}, not {said}"


def class_problems(cls: type, node: ast.ClassDef, stubs: Stubs) -> Iterator[str]:
    bases = {ast.unparse(base) for base in node.bases}
    if "NamedTuple" in bases:
        yield from tuple_problems(cls, node)
        return
    if not bases <= {base.__name__ for base in cls.__mro__}:
        yield f" is no {', '.join(sorted(bases))}"

    said = stubs.members(cls)
    made = stubs.constructor(cls)
    given = said.pop("__init__", None)
    if made is not None:
        told = given.signature if given and given.signature else NOTHING
        # What subclasses may add (*args, **kwargs) need not be told.
        open_ended = made._replace(args=made.args and told.args, kwargs=made.kwargs and told.kwargs)
        if told != open_ended:
            yield f".__init__ has {made}, not {told}"

    for name, member in said.items():
        try:
            real = inspect.getattr_static(cls, name)
        except AttributeError:
            yield f".{name} does not exist"
            continue
        if kind_of(real) != member.kind:
            yield f".{name} is: {kind_of(real)}, not: {member.kind}"
            continue
        signature = documented(getattr(cls, name), name) if member.signature else None
        if signature is not None and signature != member.signature:
            yield f".{name} has {signature}, not {member.signature}"
    for name in vars(cls):
        if not name.startswith("_") and name not in said:
            yield f".{name} is not in the stub"


def offers(module: ModuleType, source: str) -> Iterator[str]:
    """Yield the public names that the module has not merely imported."""
    imported = set()
    for listing in re.findall(r"^from [\w.]+ import (\([^)]*\)|[^\n]*)", source, re.M):
        imported |= set(re.findall(r"\w+", listing))
    for name, value in vars(module).items():
        if name.startswith("_") or name in imported or isinstance(value, ModuleType):
            continue
        if isinstance(value, type) or inspect.isroutine(value):
            if value.__module__ == module.__name__:
                yield name
        elif name.isupper():
            yield name


def problems(module: ModuleType, stubs: Stubs) -> list[str]:
    """Return a line for each thing of which stub and compiled module disagree."""
    part = module.__name__.rpartition(".")[2]
    found = []
    said = set()
    for node in stubs.tree(part).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        for name in [getattr(node, "name", None)] + [getattr(one, "id", None) for one in targets]:
            if name is None or name.startswith("_"):
                continue
            said.add(name)
            real = getattr(module, name, None)
            if not hasattr(module, name):
                found.append(f"{name} does not exist")
            elif isinstance(node, ast.ClassDef) != isinstance(real, type) or isinstance(
                node, ast.FunctionDef
            ) != inspect.isroutine(real):
                found.append(f"{name} is something else")
            elif isinstance(node, ast.ClassDef):
                found += [name + line for line in class_problems(real, node, stubs)]
            elif isinstance(node, ast.FunctionDef):
                signature, told = documented(real, name), stub_signature(node, is_bound=False)
                if signature is not None and signature != told:
                    found.append(f"{name} has {signature}, not {told}")
    found += [
        f"{name} is not in the stub"
        for name in offers(module, stubs.source(part))
        if name not in said
    ]
    return found


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stub_says_what_its_module_offers(stub: Path) -> None:
    module = importlib.import_module(f"fastdns.{stub.stem}")

    assert problems(module, Stubs()) == []


@pytest.mark.parametrize(
    ("part", "truth", "lie", "problem"),
    [
        (
            "_clock",
            "def age_of(",
            "def age(x: int) -> int: ...\ndef age_of(",
            "age does not exist",
        ),
        ("_clock", "PLAUSIBLE_MS: int", "OTHER_MS: int", "PLAUSIBLE_MS is not in the stub"),
        ("_clock", "boot: int, now: Moment", "now: Moment, boot: int", "age_of has "),
        ("_clock", "def age_of(", "age_of: int\ndef other(", "age_of is something else"),
        ("_clock", "class Moment", "class Time", "Moment is not in the stub"),
        ("_clock", "def wall_ms(", "def wall_s(", "Moment.wall_s does not exist"),
        ("_clock", "def wall_ms(", "def wall_s(", "Moment.wall_ms is not in the stub"),
        ("_clock", "    @staticmethod\n", "", "Moment.now is: static method, not: method"),
        ("_clock", "boot_ms: int, boot: int) ->", "boot_ms: int) ->", "Moment.__init__ has "),
        ("_groups", "number: int = 0", "number: int", "Group.__init__ has "),
        ("_groups", "        *,\n", "", "Group.__init__ has "),
        ("_groups", "def turned(self)", "def turned(self, by: int)", "Group.turned has ()"),
        ("_groups", "upstreams: Iterable", "all: Iterable", "Group.use has (upstreams, "),
        ("_groups", "    def turned(self) -> None: ...\n", "", "Group.turned is not in the stub"),
        ("_writer", "Writer(Database)", "Writer(Disk)", "Writer is no Disk"),
        (
            "_writer",
            "    def clear(",
            "    def fill_up(self, x: int) -> None: ...\n    def clear(",
            "Writer.fill_up has ()",
        ),
        ("_cache_settings", "stale_ttl: int", "stale_time: int", "CacheSettings.__init__ has "),
        ("_counters", "edns: bool = True", "edns: bool", "UpstreamState has the fields "),
    ],
)
def test_a_lie_is_named(part: str, truth: str, lie: str, problem: str) -> None:
    text = (ROOT / "fastdns" / f"{part}.pyi").read_text()
    assert text.count(truth) == 1

    found = problems(
        importlib.import_module(f"fastdns.{part}"), Stubs(**{part: text.replace(truth, lie)})
    )

    assert any(line.startswith(problem) for line in found), found


def test_every_source_is_compiled() -> None:
    sources = {path.stem for path in (ROOT / "ext" / "fastdns").glob("*.pyx")}
    listed = re.search(r"^MODULES = \[(.*?)\]", (ROOT / "setup.py").read_text(), re.M | re.S)
    assert listed is not None
    assert sources - set(re.findall(r'"(\w+)"', listed[1])) == set(), "not in MODULES of setup.py"


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("()", "()"),
        ("(self, bytes key, *, double budget=3.5, x)", "(key, *, budget=..., x)"),
        ("(self, uint16_t a=0, bytes b=b',)', *more, **other)", "(a=..., b=..., *args, **kwargs)"),
        ("(self, Group group not None, list names=[1, (2, 3)]) -> bool", "(group, names=...)"),
        ("(a: 'uint64_t', b: int | None = None, /)", "(a, b=...)"),
    ],
)
def test_what_either_cython_writes_is_read(text: str, signature: str) -> None:
    assert str(cython_signature(text)) == signature
