"""Which fastdns runs on this machine, and where it listens, whatever its configuration says now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from ..config.listen import SERVICES, Listen
from ..config.load import DEFAULT_FILE
from ..config.servers import HTTPS_PORT, TLS_PORT, parse_listen
from ..config.values import Address, HttpsAddress, TlsAddress
from ..machine.control_socket import OK, ask
from ..machine.port_owners import listens_on, read_process
from .units import FASTDNS

KEEPER = "fastdns-keeper"
WORKER = "fastdns-worker"
TOLD_SECONDS = 3.0
_USUAL_PORTS = {"tls": TLS_PORT, "https": HTTPS_PORT}


@attrs.frozen
class Daemon:
    """A supervisor. None: not visible to this user."""

    pid: int
    state_dir: Path | None = None
    run_dir: Path | None = None
    addresses: tuple[Address, ...] | None = None
    unit: str | None = None
    command: tuple[str, ...] = ()
    working_directory: Path | None = None
    told: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)  # its status

    @classmethod
    def of(cls, pid: int) -> Daemon:
        """Return what is visible of it."""
        process = read_process(pid)
        return cls(
            pid,
            _state_dir(pid),
            _run_dir(pid),
            listens_on(pid) or None,
            process.unit if process is not None else None,
            _command(pid),
            _working_directory(pid),
        )

    def __str__(self) -> str:
        return f"fastdns (pid {self.pid})" if self.pid else "fastdns"

    def listen(self, configured: Listen) -> Listen:
        """Return the configured table with the addresses at which the daemon really listens."""
        if self.addresses is None:
            return configured
        of: dict[str, tuple[Address, ...]] = dict.fromkeys(SERVICES, ())
        for service, one in self.served(configured):
            of[service] = (*of[service], one)
        return attrs.evolve(
            configured,
            dns=of["dns"] or configured.dns,
            tls=tuple(map(TlsAddress, of["tls"])),
            https=tuple(map(HttpsAddress, of["https"])),
        )

    def served(self, configured: Listen) -> list[tuple[str, Address]]:
        """Return where it listens, each with its service.

        The kernel knows no services. The daemon's status says which; where nobody may ask it,
        --listen, the configuration or the usual port does.
        """
        known = {plain(one): service for service, one in configured.addresses}
        for text in (*self._given("--listen"), *self.told.get("addresses", ())):
            scheme, separator, address = text.partition("://")
            port = _USUAL_PORTS.get(scheme.lower()) if separator else None
            with suppress(ValueError):  # another one than `serve` takes
                found = parse_listen(address, port) if port else parse_listen(text)
                known[plain(found)] = scheme.lower() if port else "dns"
        usual = {port: service for service, port in _USUAL_PORTS.items()}
        listening = [
            (known.get(one) or usual.get(one.port, "dns"), one) for one in self.addresses or ()
        ]
        return sorted(listening, key=lambda one: SERVICES.index(one[0]))

    @property
    def is_told_addresses(self) -> bool:
        """Whether they were given by --listen: then no reload changes them."""
        return bool(self._given("--listen"))

    @property
    def is_told_upstreams(self) -> bool:
        """Whether they were given by --upstream: then no reload changes them."""
        return bool(self._given("--upstream"))

    @property
    def config_file(self) -> Path | None:
        """The file that it was started with and reads at a reload; None: the usual one, if any."""
        given = [*self._given("-c"), *self._given("--config")]
        if not given:
            return None
        return (self.working_directory or Path()) / given[-1]

    def is_configured_by(self, path: Path | None) -> bool:
        """Return whether it was started with this file (None: the usual one) and no --state."""
        if self._given("--state"):
            return False
        file = self.config_file
        if file is None:
            return path in (None, DEFAULT_FILE) and "serve" in self.command
        return path is not None and os.path.abspath(path) == os.path.normpath(file)

    def _given(self, option: str) -> list[str]:
        """Return the values of an option on its command line."""
        if "serve" not in self.command:
            return []
        words = self.command[self.command.index("serve") :]
        return [
            after if word == option else word.partition("=")[2]
            for word, after in zip(words, (*words[1:], ""), strict=True)
            if word == option or (option.startswith("--") and word.startswith(f"{option}="))
        ]

    @property
    def keeper(self) -> int | None:
        """The process that writes the cache on disk; None: there is none, or it is not visible."""
        keepers = (pid for pid, name, above in _ours() if above == self.pid and name == KEEPER)
        return next(keepers, None)


def daemons() -> list[Daemon]:
    """Return all daemons in this network: the parents of workers and keepers."""
    pids = dict.fromkeys(above for _, _, above in _ours())
    return [Daemon.of(pid) for pid in pids if pid > 1 and _is_of_this_network(pid)]


def meant(found: Iterable[Daemon], path: Path | None) -> Daemon | None:
    """Return the daemon for this configuration, that of fastdns.service first."""
    chosen = [one for one in found if one.is_configured_by(path)]
    return next((one for one in chosen if one.unit == FASTDNS), next(iter(chosen), None))


def with_status(running: Daemon) -> Daemon:
    """Return the daemon with what it tells of itself, if we may ask and it answers."""
    if running.run_dir is None:
        return running
    try:
        [(word, text)] = ask(running.run_dir / "supervisor", "status", TOLD_SECONDS)
        told = json.loads(text) if word == OK else {}
    except (OSError, ValueError):  # `processes` says that it hangs
        return running
    return attrs.evolve(running, told=told)


def plain(address: Address) -> Address:
    """Return the address without its interface, which the kernel's tables do not name."""
    return Address(address.host.partition("%")[0], address.port)


def _ours() -> Iterator[tuple[int, str, int]]:
    """Yield workers and keepers, each with its name and its parent."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):  # it has ended
            line = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            name, _, rest = line.partition("(")[2].rpartition(") ")
            if name in (KEEPER, WORKER):
                yield int(entry.name), name, int(rest.split()[1])


def _command(pid: int) -> tuple[str, ...]:
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"))
    except OSError:
        return ()


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:  # of another user
        return None


def _state_dir(pid: int) -> Path | None:
    """Return the directory whose lock it holds."""
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):
                target = Path(os.readlink(descriptor.path))
                if target.is_absolute() and target.name == "lock":
                    return target.parent
    return None


def _run_dir(pid: int) -> Path | None:
    """Return the directory whose counters it has in memory, even if they are gone from there."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        path = line.partition("/")
        file = Path("/" + path[2].removesuffix(" (deleted)"))
        if path[1] and file.name == "counters":
            return file.parent
    return None


def _is_of_this_network(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:  # of another user: it may be
        return True
