"""A draft as TOML. Every value has a comment that names the line it came from."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ..config.schema import Config
from ..config.structure import table_in
from ..config.text import path_text, quote
from .draft import Draft, Group, Scalar, Table, Value
from .report import DIFFERS, LEFT_OUT

# As in the schema; keys outside of a table come first.
ORDER = ("", "listen", "access", "upstream", "forward", "cache", "rule", "local", "protect")
COLUMN = 100  # a comment that would end behind it gets a line of its own


def toml(draft: Draft) -> str:
    """Return the configuration, which `load` reads."""
    lines = [f"# Converted by fastdns import-config from {path_text(draft.source)}."]
    for name in ORDER:
        if name == "forward":
            for group in draft.groups:
                lines += ["", "[[forward]]", *_group(group)]
        elif name == "rule":
            for rule in draft.rules:
                lines += ["", "[[rule]]", *_table(rule, name)]
        elif (table := draft.tables.get(name)) and any(table.keys.values()):
            lines += ["", *([f"[{name}]"] if name else []), *_table(table, name)]
    if remarks := list(draft.report.lines((DIFFERS, LEFT_OUT))):
        lines += ["", "# Not converted, or different here:"]
        lines += [f"# {one}" for one in remarks]
    return "\n".join(lines) + "\n"


def _table(table: Table, name: str) -> Iterator[str]:
    fields = attrs.fields_dict(Config)
    section = table_in(fields[name].type) if name in fields else Config
    order = [field.name for field in attrs.fields(section)] if section else []
    for key in sorted(table.keys, key=lambda one: order.index(one) if one in order else -1):
        value = table.keys[key]
        if isinstance(value, Value):
            yield _commented(f"{key} = {_scalar(value.value)}", value.comment)
        elif value:
            yield from _list(key, {one.value: one.comment for one in value})


def _group(group: Group) -> Iterator[str]:
    yield f"name = {quote(group.name)}"
    yield from _list("domains", group.domains)
    if group.servers:
        yield from _list("servers", group.servers)
    else:
        yield 'answer = "nxdomain"'
    if group.fallback is not None:
        yield _commented("fallback_to_default = true", group.fallback)


def _list(key: str, values: dict[Scalar, str] | dict[str, str]) -> Iterator[str]:
    comments = set(values.values())
    if len(values) == 1 or (len(comments) == 1 and len(values) <= 4):
        inner = ", ".join(map(_scalar, values))
        yield _commented(f"{key} = [{inner}]", comments.pop())
        return
    yield f"{key} = ["
    for value, comment in values.items():
        yield _commented(f"    {_scalar(value)},", comment)
    yield "]"


def _commented(text: str, comment: str) -> str:
    return f"{text}  # {path_text(comment)}" if comment else text


def _scalar(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # A literal string has no escapes, which records with quotes would be full of.
    is_literal = '"' in value and "'" not in value and value.isascii() and value.isprintable()
    return f"'{value}'" if is_literal else quote(value)
