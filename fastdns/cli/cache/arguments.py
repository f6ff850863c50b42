"""Names, types and numbers on the command line of `fastdns cache`: bad ones are bad use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from ...browse.items import STATES, is_pattern
from ...browse.names import parse_rcode
from ...config.domains import check_no_url
from ...config.names import parse_name
from ...config.text import describe, path_text, shorten
from ...config.types import TYPES, parse_type

Callback = Callable[[click.Context, click.Parameter, "str | None"], Any]


def _parsed(parse: Callable[[str], Any]) -> Callback:
    """Return a function that parses a value; the user sees the text of its ValueError."""

    def convert(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            # As typed: in a TOML string a backslash would be two.
            problem = str(error).replace(describe(text), f'"{path_text(shorten(text or ""))}"', 1)
            raise click.BadParameter(problem, ctx, param) from None

    return convert


def types(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in TYPES if name.startswith(incomplete.upper())]


def name_or_pattern(ctx: click.Context, param: click.Parameter, text: str) -> bytes | str:
    """Return a name in wire form, or the text of a glob."""
    parsed: bytes = _parsed(_name)(ctx, param, text)
    return text if is_pattern(text) else parsed


def _name(text: str) -> bytes:
    check_no_url(text)
    return parse_name(text)


parsed_type = _parsed(parse_type)
name = click.argument("name", callback=_parsed(_name))
qtype = click.argument(
    "qtype",
    metavar="[TYPE]",
    required=False,
    callback=parsed_type,
    shell_complete=types,
)
qtype_option = click.option(
    "--type",
    "qtype",
    metavar="T",
    callback=parsed_type,
    shell_complete=types,
    help="Only entries of this type.",
)
state_option = click.option(
    "--state-is", type=click.Choice(STATES), help="Only entries in this state."
)
rcode_option = click.option(
    "--rcode",
    metavar="R",
    callback=_parsed(parse_rcode),
    help="Only answers with this RCODE (NXDOMAIN …).",
)
negative_option = click.option(
    "--negative", is_flag=True, help="Only negative answers: NXDOMAIN and NODATA."
)
under = click.option(
    "--under",
    metavar="DOMAIN",
    callback=_parsed(_name),
    help="Only this domain and all names under it.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line for each entry."
)
