"""Rules of [block] and [[view]] that block far more names than their owner may expect."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.schema import Config
from ..config.text import quote


def wide_rules(config: Config) -> Iterator[str]:
    """Yield a line for each rule that blocks all names, or a whole top-level domain.

    "." in a view is how one blocks everything for some clients, so it is no mistake.
    """
    tables = [("block", config.block.deny)]
    tables += [(f"view[{number}]", view.deny) for number, view in enumerate(config.view)]
    for table, domains in tables:
        for domain in domains:
            if domain.text == "." and table == "block":
                yield (
                    f'{table}.deny: "." blocks every name for all clients (to block everything '
                    "for some clients, put it into a [[view]])"
                )
            elif domain.text != "." and domain.wire[1 + domain.wire[0] :] == b"\0":
                yield (
                    f"{table}.deny: {quote(domain.text)} is a whole top-level domain: "
                    "every name in it is blocked"
                )
