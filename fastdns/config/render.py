"""A configuration as TOML."""

from __future__ import annotations

from typing import Any

import attrs

from .schema import Config
from .section import Section
from .structure import table_in
from .text import quote
from .units import spell_duration, spell_size
from .values import MaybeTtl, Octets, Seconds, Ttl


def render(config: Config) -> str:
    """Return TOML with every key, which `load` turns into the same configuration."""
    return "\n".join(_table(config, "")) + "\n"


def _table(section: Section, heading: str) -> list[str]:
    lines = [heading] if heading else []
    below: list[str] = []
    for field in attrs.fields(type(section)):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            below += ["", *_table(value, f"[{field.name}]")]
        elif table_in(field.type):
            for one in value:
                below += ["", *_table(one, f"[[{field.name}]]")]
        elif value is not None:
            lines.append(f"{field.name} = {_value(value, field.type)}")
    return lines + below


def _value(value: Any, kind: Any) -> str:
    if kind is Octets:
        return quote(spell_size(value))
    if kind in (Seconds, Ttl, MaybeTtl):
        return quote(spell_duration(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(quote(str(item)) for item in value)}]"
    return quote(str(value))
