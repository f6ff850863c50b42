"""The examination: everything that may prevent service, in the order in which it must be right."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from ..config.load import DEFAULT_FILE, load
from ..config.places import SYSTEM_RUN, SYSTEM_STATE, Places
from ..config.schema import Config
from ..config.text import path_text
from ..errors import ConfigErrors, FastdnsError
from ..machine.state_lock import holder
from ..policy.views import has_identities
from . import (
    daemon,
    filtering,
    machine,
    names,
    other_machines,
    ports,
    processes,
    resolver,
    upstreams,
)
from .commands import USUAL, Commands
from .findings import Finding, hint, ok, wrong
from .running import Daemon, daemons, meant, with_status


@attrs.frozen
class Examined:
    """The configuration, None if it is wrong, and the daemon that runs with it."""

    config: Config | None
    running: Daemon | None = None
    findings: tuple[Finding, ...] = ()  # findings so far
    commands: Commands = USUAL  # about this one

    @property
    def daemon(self) -> int | None:
        return self.running.pid if self.running is not None else None

    @property
    def judged(self) -> Config | None:
        """The configuration with the addresses at which the daemon really listens."""
        if self.config is None or self.running is None:
            return self.config
        return attrs.evolve(self.config, listen=self.running.listen(self.config.listen))


def admit(path: Path | None, state: str | None) -> Examined:
    """Return the daemon and configuration for all other checks."""
    commands = Commands.of(path, state)
    found = _admit(path, state, commands)
    running = with_status(found.running) if found.running is not None else None
    return attrs.evolve(found, running=running, commands=commands)


def _admit(path: Path | None, state: str | None, commands: Commands) -> Examined:
    try:
        config = load(path, state=state)
    except ConfigErrors as errors:
        running = meant(daemons(), path) if state is None else None
        return Examined(None, running, _wrong_configuration(errors.lines, running, commands))
    source = path or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)
    valid = ok(
        "configuration",
        f"{source} is valid" if source else "no configuration file: all keys have their defaults",
    )
    try:
        pid = holder(Places(config.state_dir, config.run_dir).lock)
    except FastdnsError as error:
        return _unseen(config, valid, str(error), path, commands)
    if pid is not None:
        running = Daemon.of(pid) if pid else Daemon(0)
        if path is None and running.config_file is not None and os.path.exists(running.config_file):
            return _with_its_own_file(running, running.config_file, state, commands)
        return Examined(config, running, (valid,))
    return _elsewhere(config, valid, path, is_named=state is not None)


def _with_its_own_file(
    running: Daemon, path: Path, state: str | None, commands: Commands
) -> Examined:
    """No file was named: the one counts that the daemon reads at a reload."""
    try:
        config = load(path, state=state)
    except ConfigErrors as errors:
        return Examined(None, running, _wrong_configuration(errors.lines, running, commands))
    text = f"{path_text(path)} is valid, which {running} was started with"
    return Examined(config, running, (ok("configuration", text),))


def _wrong_configuration(
    lines: Sequence[str], running: Daemon | None, commands: Commands
) -> tuple[Finding, ...]:
    if os.geteuid() != 0 and "Permission denied" in lines[0]:
        do = f"run this as root: {commands.as_root('doctor')}"
        return tuple(hint("configuration", line, do) for line in lines)
    *others, last = lines
    do = f"{commands.line('check')} until it finds no error; then run doctor again"
    found = [*(wrong("configuration", line) for line in others), wrong("configuration", last, do)]
    if running is not None:
        text = (
            f"{running} still uses its last valid configuration; a reload refuses this one, and "
            "after a restart fastdns would not start"
        )
        found.append(hint(daemon.ABOUT, text))
    return tuple(found)


def _unseen(
    config: Config, valid: Finding, problem: str, path: Path | None, commands: Commands
) -> Examined:
    """Return what is visible without the lock, which only the daemon's user and root may read."""
    found = meant(daemons(), path)
    unseen = hint(daemon.ABOUT, problem, f"run this as root: {commands.as_root('doctor')}")
    return Examined(config, found or Daemon(0), (valid, *(() if found else (unseen,))))


def _elsewhere(config: Config, valid: Finding, path: Path | None, *, is_named: bool) -> Examined:
    """No process has the lock of this state_dir: is another daemon meant?"""
    others = daemons()
    known = meant(others, path)
    if known is not None and not is_named:
        if os.geteuid() != 0 and known.state_dir is None:
            # A user without a daemon means that of the system.
            config = attrs.evolve(config, state_dir=SYSTEM_STATE, run_dir=SYSTEM_RUN)
            return Examined(config, known, (valid,))
        if known.state_dir is not None:
            text = (
                f"fastdns (pid {known.pid}) runs with state_dir {known.state_dir}, and the "
                f"configuration says {config.state_dir}: commands do not find it, and a reload "
                "cannot change that"
            )
            changed = wrong(daemon.ABOUT, text, processes.restart(known))
            config = attrs.evolve(config, state_dir=known.state_dir)
            return Examined(config, known, (valid, changed))
    named = (
        hint(
            daemon.ABOUT,
            f"another fastdns (pid {one.pid}) runs with state_dir {one.state_dir}",
            f"to look at that one: {Commands.of(None, str(one.state_dir)).line('doctor')}",
        )
        for one in others
        if one.state_dir is not None and one.state_dir != config.state_dir
    )
    return Examined(config, None, (valid, *named))


def examine(patient: Examined) -> Iterator[Finding]:
    """Yield all findings; changes nothing."""
    yield from patient.findings
    config, judged, running = patient.config, patient.judged, patient.running
    commands = patient.commands
    if config is None or judged is None:
        return
    is_told = running is not None and running.is_told_addresses
    taken = False
    for finding in ports.look(judged if is_told else config, patient.daemon, commands):
        taken = taken or finding.state == "wrong"
        yield finding
    found = daemon.look(judged, running, commands, may_start=not taken)
    yield from _as_far(daemon.ABOUT, found)
    if judged.listen.is_encrypted or has_identities(judged.view):
        from . import encryption  # noqa: PLC0415 - it loads OpenSSL

        yield from encryption.look(judged, running, commands)
    if running is not None:
        yield from daemon.look_at_addresses(config, running, commands)
        yield from processes.look(config, running)
    yield from upstreams.look(judged if is_told else config, running, commands)
    yield from upstreams.look_at_groups(judged)
    yield from names.look(config, commands)
    yield from filtering.look(config, commands)
    yield from daemon.look_at_access(judged)
    yield from daemon.look_at_protection(judged)
    yield from _as_far(resolver.ABOUT, resolver.look(judged, patient.daemon, commands))
    yield from other_machines.look(judged, commands)
    yield from machine.look(config)
    if os.geteuid() != 0:
        yield hint(
            "rights",
            "only root can see which processes hold the ports, whether the keeper works, and "
            "the daemon's directories",
            commands.as_root("doctor"),
        )


def _as_far(about: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings: a missing or hanging systemctl does not end the examination."""
    try:
        yield from findings
    except FastdnsError as error:
        yield wrong(about, str(error))
