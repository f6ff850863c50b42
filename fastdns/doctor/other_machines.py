"""Other machines that lost their DNS because `--fix` stopped a server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address

from ..config.schema import Config
from ..config.values import Address
from ..errors import FastdnsError
from .changes import UnitChange
from .commands import Commands
from .findings import Finding, hint
from .record import Record

ABOUT = "network"
SERVE_ALL = 'listen.dns = ["0.0.0.0:53", "[::]:53"]'


def uncovered(served: Iterable[Address], wanted: Collection[Address]) -> list[Address]:
    """Return the addresses at which other machines could ask a server, but not fastdns."""
    return [
        one
        for one in dict.fromkeys(served)
        if not ip_address(one.host.partition("%")[0]).is_loopback
        and one not in wanted
        and one.wildcard not in wanted
    ]


def look(config: Config, commands: Commands) -> Iterator[Finding]:
    """Name each server that was stopped and had addresses that fastdns does not have."""
    try:
        changes = Record().changes
    except FastdnsError:
        return  # not readable for this user; a user who makes or undoes changes is told
    for change in changes:
        if not isinstance(change, UnitChange):
            continue
        lost = uncovered(map(_address, change.served), config.listen.dns)
        if lost:
            yield hint(
                ABOUT,
                f"{change.unit}, which `doctor --fix` has stopped, served other machines at "
                f"{', '.join(map(str, lost))}; fastdns does not",
                f"{SERVE_ALL} in the configuration, then {commands.line('reload')}; "
                f"or {commands.line('doctor --undo')}",
            )


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))
