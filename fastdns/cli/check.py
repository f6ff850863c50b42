"""`fastdns check`: is this configuration valid, and what is the result?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import click

from .._key import make_key
from .._special_names import special_answer
from ..config.load import DEFAULT_FILE, load, read_server_file
from ..config.places import Places
from ..config.render import render
from ..config.schema import MEMORY_LEAST, MEMORY_MOST, Config, machine_memory, memory_here
from ..config.text import path_text, quote
from ..config.types import TYPES
from ..config.units import spell_size
from ..config.values import MIB, Clients, Domain, ServerFile
from ..errors import FastdnsError
from ..machine.lan import read_lan
from ..machine.own_names import own_names
from ..machine.receive_buffer import RECEIVE_BUFFER, granted_receive_buffer
from ..policy.access import open_addresses
from ..policy.compile import compile_domains
from ..policy.override_file import read
from ..policy.views import has_identities, unknown_names
from ..policy.wide_rules import wide_rules
from ..upstream.sources import RESOLV_CONF, Sources
from . import options
from .output import emit, warn
from .overrides import lines_of
from .unusable_lists import unusable_lists

HERE = IPv4Address("127.0.0.1")
MULTICAST = b"\5local\0"
NO_LEASES = (
    'local.leases: "auto" finds no file of leases here (try the path of your DHCP server\'s file, '
    'like "/srv/dhcp/dnsmasq.leases")'
)


@click.command()
@options.config_file
@options.listen
@options.upstream
@options.state
def check(
    path: Path | None, listen: tuple[str, ...], upstream: tuple[str, ...], state: str | None
) -> None:
    """Check a configuration and print all settings, as TOML.

    Exit status 2: the configuration is not valid; each error has a line.
    """
    notes: list[str] = []
    overlaps: list[str] = []
    config = load(
        path,
        listen=listen,
        upstream=upstream,
        state=state,
        say=notes.append,
        warn=overlaps.append,
    )
    emit(f"# valid: {_name_of(path)}; all settings, with the defaults:\n")
    emit(render(config))
    emit("".join(f"# {note}\n" for note in notes))
    if config.cache.memory == memory_here():
        emit(f"# cache.memory by default: {_share_of_memory()}\n")
    if not config.upstream.servers:
        found = ", ".join(str(server) for server in Sources(config).servers)
        emit(f"# upstreams now: {found or 'none'}, from {RESOLV_CONF}\n")
    domains = compile_domains(config)
    for name, count in domains.counts.items():
        emit(f"# {name}: {count:,} domain{'s' * (count != 1)}\n")
    local = own_names(config)
    for name, count in local.counts.items():
        emit(f"# {path_text(name)}: {count:,} name{'s' * (count != 1)}\n")
    for line in local.left_out:
        emit(f"# {line}\n")
    for key, client in unknown_names(config, local.names):
        emit(
            f"# {key}: {quote(client)} is unknown to leases, hosts files and records now; its "
            "machine belongs to the view while its reverse name says so\n"
        )
    if config.access.knows_lan:
        emit(f"# lan now: {_lan()}\n")
    overrides = read(Places(config.state_dir, config.run_dir).overrides)
    emit("".join(f"# {line}\n" for line in lines_of(overrides, time.time())))
    for address, everybody in open_addresses(config):
        warn(
            f"{address} is an open resolver for anybody who can reach it: access.allow has "
            f"{everybody}"
        )
    _warn_of_workers(config)
    _warn_of_server_files(config)
    _warn_of_certificate(config)
    filters = (*wide_rules(config), *unusable_lists(config))
    for problem in (*without_effect(config), *filters, *overlaps):
        warn(problem)
    for problem in (*domains.problems, *local.problems, *overrides.problems):
        warn(problem)
    if local.finds_no_leases:
        warn(NO_LEASES)
    _warn_of_receive_buffer()


def without_effect(config: Config) -> Iterator[str]:
    """Yield a line for each setting that is valid, but does nothing, or not what one expects."""
    access, local, protect = config.access, config.local, config.protect
    if config.listen.name and not config.listen.is_encrypted:
        yield (
            "listen.name: does nothing without encrypted addresses (try tls and https, "
            "docs/encryption.md)"
        )
    if access.rate_dry_run and not access.rate_limit:
        yield "access.rate_dry_run: does nothing without rate_limit (try rate_limit = 20)"
    if access.rate_limit and not any(map(_has_loopback, access.rate_exempt)):
        yield (
            'access.rate_exempt: does not have "loopback", so this machine\'s own programs and '
            "fastdns doctor may be limited (add it)"
        )
    if local.domain.wire.endswith(MULTICAST):
        yield (
            f"local.domain: many clients look for names under {quote(local.domain.text)} by "
            'multicast only (RFC 6762) and never ask fastdns (try "lan" or "home.arpa")'
        )
    owners = {local.domain.wire} if local.domain.text else set()
    listed = [one for group in config.forward for one in group.domains]
    owners |= {one.wire for one in listed if isinstance(one, Domain)}
    for domain in local.ask_upstream if all(isinstance(one, Domain) for one in listed) else ():
        is_special = special_answer(make_key(domain.wire, TYPES["A"])) is not None
        if not is_special and not any(one in owners for one in _from(domain.wire)):
            yield (
                f"local.ask_upstream: {quote(domain.text)} is asked upstream anyway (leave it out; "
                "this key is for special zones that fastdns answers itself, and "
                "[[forward]] names other servers for a domain)"
            )
    if protect.rebind_allow and not protect.rebind:
        yield "protect.rebind_allow: does nothing without rebind = true (add that)"


def _has_loopback(clients: Clients) -> bool:
    return clients == "loopback" or (not isinstance(clients, str) and HERE in clients)


def _from(name: bytes) -> Iterator[bytes]:
    """Yield a name in wire form and all domains above it."""
    at = 0
    while name[at]:
        yield name[at:]
        at += 1 + name[at]
    yield name[at:]


def _share_of_memory() -> str:
    least, most = spell_size(MEMORY_LEAST), spell_size(MEMORY_MOST)
    machine = machine_memory() / MIB
    amount = f"{machine:.0f} MiB" if machine < 1024 else f"{machine / 1024:.1f} GiB"
    return f"a sixteenth of this machine's {amount}, at least {least}, at most {most}"


def _name_of(path: Path | None) -> str:
    if path is not None:
        return path_text(path)
    return str(DEFAULT_FILE) if DEFAULT_FILE.exists() else "no configuration file"


def _lan() -> str:
    try:
        return str(read_lan())
    except OSError as error:
        return f"none: netlink cannot be read ({error.strerror or error})"


def _warn_of_workers(config: Config) -> None:
    cpus = len(os.sched_getaffinity(0))
    if config.workers > cpus:
        warn(
            f"workers: is {config.workers}, but fastdns may use {cpus} CPU{'s' * (cpus > 1)} here; "
            "more workers only compete for them (0 starts one for each CPU)"
        )


def _warn_of_server_files(config: Config) -> None:
    files = {
        entry.path: None
        for _, group in config.groups
        for entry in group.servers
        if isinstance(entry, ServerFile)
    }
    for path in files:
        for line in read_server_file(path)[1]:
            warn(line)


def _warn_of_certificate(config: Config) -> None:
    files = config.listen.certificate_files
    if files is None and not has_identities(config.view):
        return
    # Imported here: it loads OpenSSL.
    from ..listen.certificate_files import open_key, problems, read_files  # noqa: PLC0415
    from ..listen.view_services import out_of_reach  # noqa: PLC0415

    found = None
    if files is not None:
        if line := open_key(files[1]):
            warn(line)
        try:
            found = read_files(*files).certificate
        except FastdnsError as error:
            warn(str(error))
        else:
            for problem in problems(found, config.listen, time.time()):
                warn(problem.text)
    for text, do in out_of_reach(config, found):
        warn(f"{text} ({do})")


def _warn_of_receive_buffer() -> None:
    granted = granted_receive_buffer()
    if granted < RECEIVE_BUFFER:
        warn(
            f"the kernel grants a receive buffer of {spell_size(granted)} where fastdns asks for "
            f"{spell_size(RECEIVE_BUFFER)}, so a burst of queries may be lost "
            f"(try sysctl net.core.rmem_max={RECEIVE_BUFFER})"
        )
