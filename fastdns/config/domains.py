"""Domains and names in the configuration: "corp.example", or "file:" before the path of a list."""

from __future__ import annotations

from .files import absolute_path
from .names import parse_name
from .text import describe
from .values import Domain, DomainFile, NamePattern


def parse_domain(text: str) -> Domain | DomainFile:
    """Return the domain, or the file of domains, that is named. ValueError with one phrase."""
    if text.startswith("file:"):
        return DomainFile(absolute_path(text.removeprefix("file:")))
    if text.startswith(("*.", ".")) and text != ".":
        plain = text.lstrip("*").lstrip(".")
        raise ValueError(
            f'{describe(text)}: a domain covers all names under it anyway (write "{plain}")'
        )
    wire = parse_name(text)
    return Domain(text.lower().rstrip(".") or ".", wire)


def parse_pattern(text: str) -> NamePattern | DomainFile:
    """Return the name, all names under one ("*.example"), or the file of domains.

    ValueError with one phrase.
    """
    if text.startswith("file:"):
        return DomainFile(absolute_path(text.removeprefix("file:")))
    if text.startswith(".") and text != ".":
        raise ValueError(f'{describe(text)} is not a name (try "*{text}")')
    is_wildcard = text == "*" or text.startswith("*.")
    below = text[2:] or "." if is_wildcard else text
    if "*" in below:
        raise ValueError(f'{describe(text)}: "*" is only possible as the first label')
    wire = parse_name(below)
    plain = below.lower().rstrip(".")
    if is_wildcard:
        return NamePattern(f"*.{plain}" if plain else "*", wire, is_wildcard=True)
    return NamePattern(plain or ".", wire, is_wildcard=False)
