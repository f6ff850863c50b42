"""The two directories of a daemon: permanent data (state_dir) and temporary data (run_dir)."""

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs

from ..errors import ConfigError
from .section import Section

SYSTEM_STATE = Path("/var/lib/fastdns")
SYSTEM_RUN = Path("/run/fastdns")
SYSTEM_ACCOUNT = "fastdns"  # of the daemon that the system's service manager starts
OWN_NAMES = {
    *("lock", "run", "cache", "lists", "cookie_secrets", "overrides.toml", "overrides.lock"),
    *("counters", "control", "groups", "keeper", "supervisor"),
    *("ticket_keys", "certificate"),
}


@attrs.frozen
class Places(Section):
    """The two directories of one daemon. The commands find their daemon through them."""

    state_dir: Path
    run_dir: Path

    @property
    def lock(self) -> Path:
        """The running supervisor holds an flock on it; its text is the supervisor's pid."""
        return self.state_dir / "lock"

    @property
    def overrides(self) -> Path:
        """The rules made at run time; only commands write it."""
        return self.state_dir / "overrides.toml"

    @property
    def counters(self) -> Path:
        return self.run_dir / "counters"

    @property
    def control(self) -> Path:
        """How commands, keeper and workers communicate; it names the environment in use."""
        return self.run_dir / "control"

    @property
    def groups(self) -> Path:
        """The groups of upstreams that the running daemon has beside the default one."""
        return self.run_dir / "groups"

    def ring(self, number: int) -> Path:
        """Answers on their way from a worker to the keeper."""
        return self.run_dir / f"ring.{number}"

    def clients(self, number: int) -> Path:
        """The clients that a worker has seen."""
        return self.run_dir / f"clients.{number}"

    @property
    def keeper(self) -> Path:
        """The keeper's socket."""
        return self.run_dir / "keeper"

    @property
    def supervisor(self) -> Path:
        """The supervisor's socket."""
        return self.run_dir / "supervisor"

    @property
    def certificate(self) -> Path:
        """What commands are told of the certificate in use."""
        return self.run_dir / "certificate"

    @property
    def ticket_keys(self) -> Path:
        """The keys of TLS session tickets; they do not survive a boot."""
        return self.run_dir / "ticket_keys"

    @property
    def cookie_secrets(self) -> Path:
        """The secrets of DNS cookies towards clients."""
        return self.state_dir / "cookie_secrets"

    @property
    def cache(self) -> Path:
        return self.state_dir / "cache"

    @property
    def small_cache(self) -> Path:
        """Replaces the cache on disk if it is disabled; it does not survive a boot."""
        return self.run_dir / "cache"

    @property
    def lists(self) -> Path:
        """Copies of the block lists, and what they are compiled into."""
        return self.state_dir / "lists"

    def environment(self, disk: int) -> Path:
        """Return the directory of the LMDB environment, for this value of cache.disk."""
        return self.cache if disk else self.small_cache


def decide(
    *,
    flag: Path | None = None,
    state_dir: Path | None = None,
    run_dir: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Places:
    """Return the directories: of the flag, else the configuration, else the user's defaults.

    The flag sets both, DIR and DIR/run. A configured state_dir without a run_dir works like the
    flag: with the common run_dir, two daemons with different state_dirs would write the same
    counters. A configured run_dir changes nothing else.
    """
    if flag:
        return Places(flag, flag / "run")
    if state_dir:
        return Places(state_dir, run_dir or state_dir / "run")
    if os.geteuid() == 0 or _is_system_account():
        return Places(SYSTEM_STATE, run_dir or SYSTEM_RUN)
    own = _state_home(environment) / "fastdns"
    return Places(own, run_dir or own / "run")


def which_one(places: Places) -> str:
    """Return, for a message, how to name another daemon if none runs here."""
    with suppress(ConfigError):  # the user has named it already
        if places == decide():
            if SYSTEM_STATE.is_dir() and places != Places(SYSTEM_STATE, SYSTEM_RUN):
                return "(only root can look at the system's daemon: try sudo)"
            return "(choose one with -c or --state)"
    return "(fastdns doctor names the daemons that run)"


def is_own_name(name: str) -> bool:
    """Return True for a file or directory that a daemon creates in state_dir or run_dir."""
    name = name.removesuffix(".new").removesuffix(".damaged")
    return name in OWN_NAMES or name.startswith(("ring.", "clients."))


def _is_system_account() -> bool:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name == SYSTEM_ACCOUNT
    except KeyError:
        return False


def _state_home(environment: Mapping[str, str]) -> Path:
    given = Path(environment.get("XDG_STATE_HOME", ""))
    if given.is_absolute():  # the XDG specification: a relative one must be ignored
        return given
    home = Path(environment.get("HOME", ""))
    if not home.is_absolute():
        raise ConfigError("state_dir", "HOME is not set, so there is no default (try --state DIR)")
    return home / ".local" / "state"
