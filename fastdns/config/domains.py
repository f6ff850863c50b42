"""Domains in the configuration: "corp.example", or "file:" before the path of a list of them."""

from __future__ import annotations

from .files import absolute_path
from .names import parse_name
from .schema import Domain, DomainFile
from .text import describe


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
