"""`fastdns why`: the whole story of one name, in the order in which the daemon decides."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import click

from ..._hosts import reverse_of
from ...browse.names import Key, spell_name, spell_type
from ...config.text import describe
from ...config.types import TYPES
from ...config.values import ClientName, Identity, Mac
from ...config.view_clients import parse_view_client
from .. import options
from ..cache import arguments
from ..cache.isolation import go_on_in_child
from ..output import emit

Who = IPv4Address | IPv6Address | Mac | ClientName | Identity

# Not data: the daemon refuses such a query before it looks at the name (RFC 6895 section 3.1).
REFUSED_TYPES = {0, TYPES["OPT"], TYPES["NXNAME"], *range(TYPES["TKEY"], TYPES["ANY"])}


def _client(ctx: click.Context, param: click.Parameter, text: str) -> Who:
    with suppress(ValueError):
        address = ip_address(text)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address
    with suppress(ValueError):
        client = parse_view_client(text)
        if isinstance(client, Mac | ClientName | Identity):
            return client
    raise click.BadParameter(
        f"{describe(text)} is not an address, a hardware address or a name (try 192.168.1.20)",
        ctx,
        param,
    )


def _key_of(name: bytes, qtype: int | None) -> Key:
    """Return the question. An address is not a name: its reverse name is meant."""
    if qtype in (None, TYPES["PTR"]):
        with suppress(ValueError):
            return Key(reverse_of(ip_address(spell_name(name)[:-1]).packed), TYPES["PTR"])
    return Key(name, TYPES["A"] if qtype is None else qtype)


@click.command()
@arguments.name
@arguments.qtype
@click.option(
    "-t",
    "--type",
    "wanted",
    metavar="TYPE",
    callback=arguments.parsed_type,
    shell_complete=arguments.types,
    help="The type, in another place.",
)
@click.option(
    "--client",
    metavar="WHO",
    default="127.0.0.1",
    callback=_client,
    help="Explain what this client gets: an address, a hardware address, a name, or "
    '"tls:NAME" or "doh:NAME" of a view (default: 127.0.0.1).',
)
@click.option("--view", metavar="NAME", help="Explain what clients of this view get.")
@click.option("--live", is_flag=True, help="Ask now, and show what happens when.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
def why(
    *,
    name: bytes,
    qtype: int | None,
    wanted: int | None,
    client: Who,
    view: str | None,
    live: bool,
    as_json: bool,
    path: Path | None,
    state: str | None,
) -> int:
    """Explain what is answered to NAME, and why.

    TYPE is A if it is left out. For an address, its reverse name is explained. The decision is
    that of the daemon, by the configuration in its file; the daemon may run, hang or be stopped.
    Exit status 0 whenever there is a decision, whatever it is.
    """
    if qtype is not None and wanted is not None and qtype != wanted:
        raise click.UsageError("two types are given (leave one out)")
    key = _key_of(name, wanted if qtype is None else qtype)
    if key.qtype in REFUSED_TYPES:
        raise click.UsageError(
            f"queries of type {spell_type(key.qtype)} are refused, whatever the name is"
        )
    go_on_in_child()
    # Imported now: root may not be able to read them as the owner of the cache.
    from . import screen  # noqa: PLC0415 - the parent process needs none of it
    from .story import tell  # noqa: PLC0415

    if live:
        from . import live as asking  # noqa: PLC0415 - loads the event loop

        story = tell(key, client, path, state, view)
        timeline = asking.ask(story)
    else:
        story, timeline = tell(key, client, path, state, view), None
    if as_json:
        emit(json.dumps(screen.as_json(story, timeline)) + "\n")
    else:
        emit("".join(f"{line}\n" for line in screen.lines(story, timeline)))
    return 0
