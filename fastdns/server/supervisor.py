"""The supervisor: owns the sockets, forks keeper and workers, replaces dead ones, drops root.

It has no hub and no thread and opens no database, because its children must not share them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from .. import __version__
from .._counters import UpstreamState
from .._pages import release_code
from ..config.places import Places
from ..config.schema import Config
from ..config.values import Address
from ..counters import Pages
from ..errors import ConfigErrors, StartError
from ..machine import preload
from ..machine.accounts import drop_root, may_read
from ..machine.control_socket import ERROR, OK, WARNING, WRONG
from ..machine.directories import check, prepare
from ..machine.state_lock import sign
from ..policy.block_lists.named import lists_named
from ..policy.compile import compile_domains
from ..policy.parts import has_filters
from ..upstream.sources import Sources, forward_sources, no_upstream
from .certificate import ServiceCertificate, read_descriptor
from .control_socket import Caller, ControlSocket
from .handover import Handover, Successor
from .inherited import Inherited
from .log import start_log
from .loop import Loop
from .processes import Processes
from .settings import (
    Refused,
    Settings,
    changes_of_names,
    files_of,
    first_problems,
    local_sources,
    names_of,
    settings_for,
    tell_names,
    warn_of_files,
    warn_of_open_addresses,
    warn_of_wide_rules,
)
from .shared_memory import Maker
from .sockets import to_hand_over
from .systemd import ServiceWatchdog
from .takeover import TAKEOVER

log = logging.getLogger(__name__)

UPSTREAMS_SECONDS = 5.0  # between looks at them and at the processes
FILES_TOLD = 100  # lists and local files
LONGEST_WAIT_SECONDS = 3600.0


def run(
    config: Config,
    reread: Callable[[], Config],
    *,
    take_over: bool = False,
    notes: Sequence[str] = (),
    announce: Callable[[Sequence[Address]], None] = lambda addresses: None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. StartError: it cannot start.

    `reread` returns the configuration at the time of a reload. With `take_over`, a running instance
    hands over to this one. `notes` are logged. `announce` is called once, when it serves, with the
    addresses where it answers DNS.
    """
    _fill_standard_descriptors()
    start_log(config.log_level)
    for note in notes:
        log.info("%s", note)
    places = Places(config.state_dir, config.run_dir)
    account = prepare(places)
    inherited = Inherited(places, account, take_over=take_over)
    config = inherited.with_opened(config)
    listeners = inherited.bind(config)
    warn_of_open_addresses(config)
    warn_of_wide_rules(config)
    sources = Sources(config)
    if not sources.servers:
        if config.upstream.servers:
            raise StartError(no_upstream(config))
        log.warning("%s; until then fastdns answers from its cache only", no_upstream(config))
    for unused in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(unused, signal.SIG_IGN)  # stray ones have no effect
    preload.import_late(config)  # here, so that all processes share it
    certificate = ServiceCertificate()
    certificate.use(config.listen)  # root may read the key
    if account is not None:
        preload.import_for_later(partial(may_read, account), lists=bool(lists_named(config)))
        drop_root(account)
    check(places)
    forward = forward_sources(config)
    for one in (sources, *(each.sources for each in forward)):
        one.warn_of_closed_files()
    certificate.show_at(places.certificate)
    domains = compile_domains(config)
    local = local_sources(config)
    tell_names(config, domains, names_of(local))
    inherited.stop_predecessor()
    try:
        settings = Settings(config, sources, forward, domains, local, listeners)
        return Supervisor(settings, places, certificate, inherited, reread).run(announce)
    finally:
        with suppress(OSError, ValueError):
            if Pages.attach(places.counters).pid == os.getpid():  # not those of a successor
                places.counters.unlink()


class Supervisor:
    """Waits for signals, children and callers, and handles them."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        certificate: ServiceCertificate,
        inherited: Inherited,
        reread: Callable[[], Config],
    ) -> None:
        self._places = places
        self._certificate = certificate
        self._inherited = inherited
        self._manager = inherited.manager
        self._reread = reread
        self._loop = Loop()
        self._processes = Processes(settings, places, certificate.page, Maker(places), self._loop)
        self._watchdog = ServiceWatchdog(self._manager, self._heartbeats)
        requests = {
            "reload": self._ask_reload,
            "status": self._tell_status,
            TAKEOVER: self._meet_successor,
        }
        self._control_socket = ControlSocket(places.supervisor, self._loop, requests)
        self._handover = Handover(
            self._loop,
            inherited.lock,
            hand_over=self._want_hand_over,
            give_up=self._share_out,
        )
        self._reload_callers: list[Caller] = []  # callers that wait for the next reload
        self._given_pair: list[bytes] = []  # certificate and key, if one of them has sent them
        self._is_reload_due = False
        self._reloaded_at: float | None = None  # when a reload ended, by the wall clock
        self._reload_problem = ""  # why it was refused
        self._serving = self._trouble = ""  # what the service manager shows
        self._upstreams_due = 0.0
        # Tasks with several steps, of which only the first one runs: each yields until when it
        # waits, and continues after any event.
        self._procedures: deque[Iterator[float]] = deque()
        self._procedure_due = math.inf
        self._is_to_end = False
        self._is_succeeded = False
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._end)
        self._loop.on_signal(signal.SIGCHLD, _look)
        self._loop.on_signal(signal.SIGHUP, self._want_reload)

    def run(self, announce: Callable[[Sequence[Address]], None]) -> int:
        """Serve until told to stop."""
        self._processes.start()
        self._inherited.release_predecessor()
        self._control_socket.open()
        self._tell_manager()
        self._tell_ready()
        announce([one.address for one in self._processes.settings.listeners])
        release_code()
        while not self._is_to_end:
            due = min(
                *(
                    self._processes.due,
                    self._control_socket.due,
                    self._procedure_due,
                    self._certificate.due,
                    self._watchdog.due,
                )
            )
            self._loop.turn(min(due - time.monotonic(), LONGEST_WAIT_SECONDS))
            if not self._is_to_end:
                self._processes.look()
                self._control_socket.look()
                self._certificate.look()
                self._go_on()
                self._watchdog.look()
                self._tell_of_upstreams()
        if not self._is_succeeded:
            log.info("stopping")
            self._manager.stopping()
            self._control_socket.close()
            self._processes.stop()
        return 0

    def _tell_ready(self) -> None:
        log.info("ready on %s", self._description)

    @property
    def _description(self) -> str:
        settings = self._processes.settings
        addresses = ", ".join(map(str, settings.listeners))
        upstreams = ", ".join(str(one) for one in settings.sources.servers) or "none yet"
        return f"{addresses} (fastdns {__version__}, upstreams {upstreams})"

    def _tell_manager(self, problem: str = "") -> None:
        """Tell the service manager that we serve, and let it keep our sockets."""
        listeners = self._processes.settings.listeners
        self._manager.keep(dict(to_hand_over([one for one in listeners if one.made_as is None])))
        addresses = ", ".join(map(str, listeners))
        self._serving = f"serving {addresses}{problem and '; not reloaded: '}{problem}"
        self._trouble = trouble(self._processes.upstreams)
        self._manager.ready(self._serving + self._trouble)

    def _tell_of_upstreams(self) -> None:
        """Let the service manager show when no upstream answers, and when one does again."""
        now = time.monotonic()
        if not self._manager.is_there or now < self._upstreams_due:
            return
        self._upstreams_due = now + UPSTREAMS_SECONDS
        found = trouble(self._processes.upstreams)
        if found != self._trouble:
            self._trouble = found
            self._manager.status(self._serving + found)

    def _heartbeats(self) -> dict[str, float]:
        return self._processes.heartbeats()

    def _end(self) -> None:
        self._is_to_end = True

    def _go_on(self) -> None:
        """Do the next step of the current task."""
        while self._procedures:
            try:
                self._procedure_due = next(self._procedures[0])
            except StopIteration:
                self._procedures.popleft()
            except StartError:
                raise  # no process serves any more
            except Exception as error:  # a defect of ours must not end a daemon that serves
                log.error("defect: %s: %s", type(error).__name__, error)
                self._procedures.popleft()
            else:
                return
        self._procedure_due = math.inf

    def _tell_status(self, caller: Caller) -> None:
        """Send what only this process knows, as a line of JSON."""
        settings = self._processes.settings
        told = {
            "version": __version__,
            "addresses": list(map(str, settings.listeners)),
            "workers": settings.config.worker_count,
            "memory_limit_bytes": settings.config.cache.memory,
            "disk_limit_bytes": settings.config.cache.disk,
            "blocks": has_filters(settings.config),
            "certificate": self._certificate.told,
            "reloaded_at": self._reloaded_at,
            "reload_problem": self._reload_problem,
            "files": list(map(str, islice(files_of(settings), FILES_TOLD))),
        }
        caller.say(OK, json.dumps(told))
        caller.close()

    # A new configuration

    def _ask_reload(self, caller: Caller) -> None:
        if caller.descriptors:  # root may read what this process may not
            with suppress(ValueError):
                self._given_pair = list(map(read_descriptor, caller.descriptors))
        self._reload_callers.append(caller)
        self._want_reload()

    def _want_reload(self) -> None:
        if not self._is_reload_due:
            self._is_reload_due = True
            self._procedures.append(self._reload())

    def _reload(self) -> Iterator[float]:
        """Read the configuration, apply it, and answer all callers that asked for that."""
        self._is_reload_due = False  # later callers want a configuration that is read later
        self._handover.end()  # some of the sockets that we were given may be closed now
        self._manager.reloading()
        callers, self._reload_callers = self._reload_callers, []
        given, self._given_pair = self._given_pair, []
        problems: list[str] = []  # of lists and files, which the log has already
        try:
            former = self._processes.settings
            yield from self._adopt(self._inherited.with_opened(self._reread()), given)
            word, lines = OK, [f"reloaded: ready on {self._description}"]
            lines += changes_of_names(former, self._processes.settings)
            problems = first_problems(self._processes.settings) + self._certificate.problems
            if self._processes.outdated:
                lines.append(_outdated(self._processes.outdated))
        except ConfigErrors as errors:
            word, lines = WRONG, errors.lines
        except Refused as refused:
            word, lines = ERROR, [str(refused)]
        except OSError as error:
            word, lines = ERROR, [str(error)]
        others = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        self._reloaded_at = time.time()
        self._reload_problem = "" if word == OK else lines[0] + others
        self._tell_manager(self._reload_problem)
        for line in lines:
            if word != OK:
                log.error("reload: %s", line)
            for caller in callers:
                caller.say(word, line)
        for caller in callers:
            for line in problems:
                caller.say(WARNING, line)
            caller.close()

    def _adopt(self, config: Config, given: Sequence[bytes]) -> Iterator[float]:
        settings = settings_for(self._processes.settings, config, self._processes.most_workers)
        start_log(config.log_level)
        log.info("reloading")
        warn_of_files(settings.domains, settings.names)
        for line in changes_of_names(self._processes.settings, settings):
            log.info("%s", line)
        warn_of_open_addresses(config, self._processes.settings.config)
        warn_of_wide_rules(config, self._processes.settings.config)
        self._certificate.use(config.listen, given)  # for the new workers
        try:
            yield from self._processes.adopt(settings)
        finally:
            now = self._processes.settings.config
            if now.listen.certificate_files != config.listen.certificate_files:  # not replaced
                self._certificate.use(now.listen)
            start_log(now.log_level)
        self._tell_ready()

    # Another instance that replaces us

    def _meet_successor(self, caller: Caller) -> None:
        sockets = to_hand_over(self._processes.settings.listeners)
        self._handover.begin(caller, sockets, self._manager.environment)

    def _want_hand_over(self, successor: Successor) -> None:
        self._procedures.append(
            self._hand_over(successor)
        )  # a reload that runs now is finished first

    def _share_out(self) -> None:
        self._processes.end_steering()  # a successor that failed may already have begun to steer

    def _hand_over(self, successor: Successor) -> Iterator[float]:
        """Let another instance serve; if it does not, serve again."""
        log.info("pid %d takes over", successor.pid)
        self._manager.alive()  # each of the two waits below may take long
        self._control_socket.close()
        self._processes.stop()
        self._manager.alive()
        if successor.serves():
            log.info("pid %d serves; this one ends", successor.pid)
            self._manager.succeeded_by(successor.pid)
            successor.dismiss()
            self._is_to_end = self._is_succeeded = True
        else:
            log.error("pid %d does not serve: serving again", successor.pid)
            self._serve_again()
        successor.close()
        yield from ()

    def _serve_again(self) -> None:
        """Be as after a start: the files in run_dir now have the other's content."""
        sign(self._inherited.lock)
        settings = self._processes.settings
        self._processes = Processes(
            settings, self._places, self._certificate.page, Maker(self._places), self._loop
        )
        self._processes.start()
        self._control_socket.open()


def _outdated(entries: int) -> str:
    return (
        f"the upstreams have changed: {entries} entries of the cache are asked for again when they "
        f"are next needed; while no upstream answers, they are served as stale"
    )


def trouble(upstreams: Sequence[UpstreamState]) -> str:
    """Return what to add to the status when no upstream is usable."""
    if not upstreams or any(one.alive and not one.rcode for one in upstreams):
        return ""
    return "; no upstream answers" + (" well" if any(one.alive for one in upstreams) else "")


def _look() -> None:
    """Wake up: children are checked after each turn."""


def _fill_standard_descriptors() -> None:
    """Open standard streams that are closed: else a socket would get the number and the log's
    lines.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open() takes the lowest free number: this one
