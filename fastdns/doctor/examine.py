"""The examination: everything that may be in the way, in the order in which it has to be right."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ..config.load import DEFAULT_FILE, load
from ..config.places import Places
from ..config.schema import Config
from ..errors import ConfigErrors, FastdnsError
from ..server.ground import holder
from . import daemon, machine, ports, resolver
from .findings import Finding, ok, wrong


@attrs.frozen
class Patient:
    """The configuration, None when it is wrong, and the pid of the daemon that runs with it."""

    config: Config | None
    daemon: int | None
    findings: tuple[Finding, ...] = ()  # what was found on the way here


def admit(path: Path | None, state: str | None) -> Patient:
    """Return whom all else is about."""
    try:
        config = load(path, state=state)
    except ConfigErrors as errors:
        do = "fastdns check tells when it is right; what else is wrong shows then"
        found = tuple(wrong("configuration", line, do) for line in errors.lines)
        return Patient(None, None, found)
    source = path or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)
    valid = ok("configuration", f"{source} is valid" if source else "there is none: all defaults")
    try:
        pid = holder(Places(config.state_dir, config.run_dir).lock)
    except FastdnsError as error:
        unseen = wrong(daemon.ABOUT, str(error), "run this as root")
        return Patient(config, None, (valid, unseen))
    return Patient(config, pid, (valid,))


def examine(patient: Patient) -> Iterator[Finding]:
    """Say all that is to be said; changes nothing."""
    yield from patient.findings
    config = patient.config
    if config is None:
        return
    taken = False
    for finding in ports.look(config, patient.daemon):
        taken = taken or finding.state == "wrong"
        yield finding
    yield from _as_far(daemon.ABOUT, daemon.look(config, patient.daemon, may_start=not taken))
    yield from daemon.look_at_upstreams(config)
    yield from _as_far(resolver.ABOUT, resolver.look(config, patient.daemon))
    yield from machine.look(config)


def _as_far(about: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what can be found: a systemctl that hangs or is not there ends no examination."""
    try:
        yield from findings
    except FastdnsError as error:
        yield wrong(about, str(error))
