"""Files and flags to a configuration; all errors are reported, one line each."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ConfigErrors
from .documents import Documents, read_documents
from .files import absolute_path
from .listen import SERVICES, Listen
from .places import Places, decide
from .schema import Config, own_address
from .servers import parse_server, read_server_file
from .structure import Refused, structure
from .text import describe, path_text
from .values import ServerFile

__all__ = ["load", "load_places", "parse_server", "read_server_file"]

DEFAULT_FILE = Path("/etc/fastdns/fastdns.toml")


def load(
    path: Path | None,
    *,
    listen: Sequence[str] = (),
    upstream: Sequence[str] = (),
    state: str | Path | None = None,
    workers: int | None = None,
    again: bool = False,
    say: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] | None = None,
) -> Config:
    """Return the effective configuration: the flags, else the files, else the defaults.

    Without a path it is /etc/fastdns/fastdns.toml if that exists. ConfigErrors names a flag or the
    file and the key for each wrong value; a key that a flag replaces is not checked. A file of
    upstreams must exist and name at least one; its other lines may be wrong (`read_server_file`).
    With `again`, the file must be one that can be read twice, and nothing here can block. `say` is
    told which key of an included file replaces another one, `warn` what is valid, but probably not
    meant: only in one place do the keys of all files come together.
    """
    documents = _read(path, regular=again)
    data = documents.data
    flags: dict[str, str] = {}
    for table, key, flag, given in (
        *(("listen", key, "--listen", given) for key, given in _by_service(listen).items()),
        ("upstream", "servers", "--upstream", list(upstream)),
    ):
        if given and isinstance(data.setdefault(table, {}), dict):
            data[table][key] = given
            flags[f"{table}.{key}"] = flag
    if workers is not None:
        data["workers"] = workers
        flags["workers"] = "--workers"
    if state is not None:
        flags["state_dir"] = "--state"
    try:
        config = structure(_with_places(data, state), Config)
        if problems := _server_file_problems(config):
            raise Refused(problems)
    except Refused as refused:
        raise _lines(refused.problems, documents, flags) from None
    if documents.problems:
        raise ConfigErrors(documents.problems)
    for note in documents.notes:
        say(note)
    if warn is not None:
        from .overlaps import dropped_settings  # noqa: PLC0415 - no daemon warns

        for line in dropped_settings(config.rule, documents):
            warn(line)
    return config


def problems_in(text: str) -> list[str]:
    """Return what is wrong with the text of a configuration: its keys, each with the problem.

    Files that it names are not read.
    """
    try:
        structure(_with_places(tomllib.loads(text), None), Config)
    except tomllib.TOMLDecodeError as error:
        return [f"it is not valid TOML: {path_text(error)}"]
    except Refused as refused:
        return [f"{problem.key}: {problem.problem}" for problem in refused.problems]
    return []


def load_places(path: Path | None, *, state: str | Path | None = None) -> Places:
    """Return the directories of this configuration's daemon.

    Other keys are not checked: a command that looks at a running daemon should work while its file
    is being edited.
    """
    documents = _read(path)
    if documents.problems:
        raise ConfigErrors(documents.problems)
    try:
        given = _with_places(documents.data, state)
        return structure({key: given[key] for key in ("state_dir", "run_dir")}, Places)
    except Refused as refused:
        raise _lines(
            refused.problems, documents, {"state_dir": "--state"} if state is not None else {}
        ) from None


def certificate_files_of_root(path: Path | None) -> tuple[Path, Path] | None:
    """Return the files of certificate and key that root's own configuration names; None: none.

    Root may read these for a daemon. A configuration that another user can write must not choose
    what root reads: its files count only if all of them are root's.
    """
    try:
        documents = _read(path)
        names = [str(path or DEFAULT_FILE), *documents.files]
        if not all(map(_is_of_root, names)):
            return None
        given = documents.data.get("listen", {})
        data = {key: given[key] for key in ("certificate", "key") if key in given}
        return structure(data, Listen).certificate_files
    except (ConfigErrors, Refused, OSError, AttributeError, TypeError):
        return None


def _is_of_root(name: str) -> bool:
    found = os.stat(name)
    return found.st_uid == 0 and not found.st_mode & 0o022


def _by_service(listen: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses of --listen by the key of their service: "tls://0.0.0.0" is one."""
    found: dict[str, list[str]] = {}
    for text in listen:
        scheme, separator, address = text.partition("://")
        is_service = separator and scheme.lower() in SERVICES
        key, value = (scheme.lower(), address) if is_service else ("dns", text)
        found.setdefault(key, []).append(value)
    return found


def _read(path: Path | None, *, regular: bool = False) -> Documents:
    """Return the data of the files; none if there is no file."""
    if path is None and not os.path.exists(DEFAULT_FILE):
        return Documents()
    return read_documents(path or DEFAULT_FILE, regular=regular)


def _with_places(data: dict[str, Any], state: str | Path | None) -> dict[str, Any]:
    """Return the data with both directories; errors in a given one are reported later."""
    try:
        if state is not None:
            return data | _as_data(decide(flag=_state_directory(state)))
        state_dir, run_dir = _usable(data.get("state_dir")), _usable(data.get("run_dir"))
        return _as_data(decide(state_dir=state_dir, run_dir=run_dir)) | data
    except ConfigError as error:
        raise Refused([error]) from None


def _state_directory(text: str | Path) -> Path:
    try:
        return absolute_path(os.path.abspath(text) if str(text) else "")
    except ValueError as error:
        raise ConfigError("state_dir", str(error)) from None
    except OSError as error:  # a relative path, and the working directory is gone
        raise ConfigError("state_dir", f"{describe(str(text))}: {error.strerror}") from None


def _usable(value: object) -> Path | None:
    try:
        return absolute_path(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _as_data(places: Places) -> dict[str, Any]:
    return {"state_dir": str(places.state_dir), "run_dir": str(places.run_dir)}


def _server_file_problems(config: Config) -> list[ConfigError]:
    problems: list[ConfigError] = []
    for key, group in config.groups:
        for entry in group.servers:
            if isinstance(entry, ServerFile):
                problems += _problems_of_file(f"{key}.servers", entry.path, config)
    return problems


def _problems_of_file(key: str, path: Path, config: Config) -> Iterator[ConfigError]:
    servers, wrong = read_server_file(path)
    if not servers:
        for line in wrong or [f"{path_text(path)}: contains no upstream (write one per line)"]:
            yield ConfigError(key, line)
    for server in servers:
        if config.listen.covers(server.address):
            yield own_address(server, key)


def _lines(
    problems: list[ConfigError], documents: Documents, flags: dict[str, str]
) -> ConfigErrors:
    lines = [*documents.problems]
    for problem in problems:
        source, key = documents.place_of(problem.key)
        name = flags.get(problem.key) or (f"{source}: {key}" if source else key)
        lines.append(f"{name}: {problem.problem}")
    return ConfigErrors(lines)
