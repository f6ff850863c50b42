"""TOML values to schema values, strictly: 3.9 is not an integer and 1 is not a boolean.

Each type of the schema has its function here. It names the problem in a phrase (ValueError); the
function of the table adds the key and continues, so that all errors are reported at once. The
supervisor keeps this module for reloads, so it loads no library for these few lines. Parsers that
few configurations need are imported when they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs

from ..errors import ConfigError, unreadable
from . import later
from .clients import parse_clients
from .domains import parse_domain, parse_pattern
from .files import absolute_path
from .schema import Config
from .section import Section
from .servers import HTTPS_PORT, TLS_PORT, parse_listen, parse_server
from .text import describe, key_text, nearest
from .units import parse_duration, parse_size
from .values import (
    NO_DOMAIN,
    Address,
    AnyAddresses,
    AnyDomain,
    AnyLeases,
    AnyList,
    AnyName,
    AnyRecord,
    AnyServer,
    AnyViewClient,
    BlockAnswer,
    Clients,
    Domain,
    GroupName,
    HostsFile,
    Hours,
    HttpsAddress,
    MaybeBlockAnswer,
    MaybeFile,
    MaybeLists,
    MaybeTtl,
    Octets,
    OwnDomain,
    Seconds,
    ServiceName,
    Strategy,
    TlsAddress,
    Ttl,
    TypeName,
)
from .view_clients import parse_view_client

_Table = TypeVar("_Table", bound=Section)


class Refused(Exception):
    """Errors inside one value, keys relative to it; the key "" is the value itself."""

    def __init__(self, problems: list[ConfigError]) -> None:
        super().__init__(problems)
        self.problems = problems


def structure(data: dict[str, Any], table: type[_Table]) -> _Table:
    """Return the table's values, or raise Refused with all errors in them."""
    return _structure_table(data, table)


def _structure_value(value: object, kind: Any) -> Any:
    if _is_table(kind):
        return _structure_table(value, kind)
    if kind in _BY_KIND:
        return _BY_KIND[kind](value, kind)
    return _BY_ORIGIN[get_origin(kind)](value, kind)


def _structure_table(data: object, table: type[_Table]) -> _Table:
    if not isinstance(data, dict):
        raise ValueError(f"{describe(data)} is not a table (try [{table.__name__.lower()}])")
    fields = {field.name: field for field in attrs.fields(table)}
    problems: list[ConfigError] = []
    values = {}
    wrong = set()
    for key, value in data.items():
        try:
            if key not in fields:
                raise ValueError(_why_not(key, table))
            values[key] = _structure_value(value, fields[key].type)
            if validator := fields[key].validator:
                validator(None, fields[key], values[key])
        except ValueError as error:
            wrong.add(key)
            problems.append(ConfigError(key_text(key), str(error)))
        except ImportError as error:
            wrong.add(key)
            problems.append(ConfigError(key_text(key), unreadable(error)))
        except Refused as refused:
            wrong.add(key)
            problems += (_under(key, problem) for problem in refused.problems)
    values = {key: value for key, value in values.items() if key not in wrong}
    missing = [
        key for key, field in fields.items() if field.default is attrs.NOTHING and key not in data
    ]
    problems += (ConfigError(key, "is missing") for key in missing)
    wrong |= set(missing)
    lacking = {key: None for key in wrong & fields.keys() if fields[key].default is attrs.NOTHING}
    if any(fields[key].validator for key in lacking):
        raise Refused(problems)
    section = table(**(lacking | values))
    problems += section.contradictions(wrong)
    if problems:
        raise Refused(problems)
    return section


def _under(key: str, problem: ConfigError) -> ConfigError:
    if problem.key.startswith("["):  # an item of the list under this key
        return ConfigError(f"{key}{problem.key}", problem.problem)
    return ConfigError(f"{key}.{problem.key}" if problem.key else key, problem.problem)


def _why_not(key: str, table: type[Section]) -> str:
    if key in later.KEYS.get(table, ()):
        return f"{later.NOT_IN_THIS_VERSION} (leave it out)"
    here = [field.name for field in attrs.fields(table)]
    if near := nearest(key, here):
        return f"is not a known key (did you mean {_PREFIXES.get(table, '')}{near}?)"
    if near := nearest(key, _PATHS):
        return f"is not a known key (did you mean {_PATHS[near]}?)"
    return f"is not a known key (known here: {', '.join(here)})"


def table_in(kind: Any) -> type[Section] | None:
    """Return what a key of this type has: the table, or each table of a list; None: a value."""
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if _is_table(kind) else None


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _paths(table: type[Section], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for field in attrs.fields(table):
        found.setdefault(field.name, prefix + field.name)
        if below := table_in(field.type):
            found = _paths(below, f"{prefix}{field.name}.") | found
    return found


def _prefixes(table: type[Section], prefix: str = "") -> dict[type[Section], str]:
    found = {table: prefix}
    for field in attrs.fields(table):
        if below := table_in(field.type):
            found |= _prefixes(below, f"{prefix}{field.name}.")
    return found


_PREFIXES = _prefixes(Config)  # of the keys of each table
_PATHS = _paths(Config)  # by the last part of the key, which a user may have put in another table


def _structure_list(data: object, kind: Any) -> tuple[Any, ...]:
    kind = get_args(kind)[0]
    if isinstance(data, dict) and _is_table(kind):
        name = kind.__name__.lower()
        raise ValueError(f"is a single table (write [[{name}]], once for each)")
    if not isinstance(data, list):
        raise ValueError(f"{describe(data)} is not a list (put it in [ ])")
    items = []
    problems = []
    for number, item in enumerate(data):
        # A value identifies its item in the list; a table only has a number, and a record is long.
        place = f"[{number}]" if _is_table(kind) or kind is AnyRecord else ""
        try:
            if _is_table(kind) and not isinstance(item, dict):
                name = kind.__name__.lower()
                raise ValueError(f"{describe(item)} is not a table (try [[{name}]])")
            items.append(_structure_value(item, kind))
        except ValueError as error:
            problems.append(ConfigError(place, str(error)))
        except Refused as refused:
            problems += (_under(place, problem) for problem in refused.problems)
    if problems:
        raise Refused(problems)
    return tuple(items)


def _structure_bool(value: object, _kind: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{describe(value)} is not a boolean (try true or false)")
    return value


def _structure_int(value: object, _kind: Any) -> int:
    if type(value) is not int:
        number = re.match("[0-9]{1,9}", value) if isinstance(value, str) else None
        raise ValueError(f"{describe(value)} is not an integer (try {number[0] if number else 1})")
    if value.bit_length() > 63:
        raise ValueError(f"{describe(value)} is too large (try 1)")
    return value


def _structure_word(value: object, kind: Any) -> str:
    words = get_args(kind)
    if isinstance(value, str) and value in words:
        return value
    near = nearest(value, words) if isinstance(value, str) else None
    known = ", ".join(f'"{word}"' for word in words)
    remedy = f' (did you mean "{near}"?)' if near else ""
    raise ValueError(f"{describe(value)} is not one of {known}{remedy}")


def _structure_path(value: object, _kind: Any) -> Path:
    return absolute_path(_in_quotes(value, "a path", "/var/lib/fastdns"))


def _structure_strategy(value: object, kind: Any) -> str:
    if isinstance(value, str) and value in later.STRATEGIES:
        raise ValueError(f'"{value}" {later.NOT_IN_THIS_VERSION} (try "failover")')
    return _structure_word(value, kind)


def _structure_text(value: object, _kind: Any) -> str:
    return _in_quotes(value, "a path", "conf.d/*.toml")


def _structure_group_name(value: object, _kind: Any) -> str:
    return _in_quotes(value, "a name", "corp")


def _structure_address(value: object, _kind: Any) -> Address:
    return parse_listen(_in_quotes(value, "an address", "127.0.0.1:53"))


def _structure_tls_address(value: object, _kind: Any) -> Address:
    return parse_listen(_in_quotes(value, "an address", f"0.0.0.0:{TLS_PORT}"), TLS_PORT)


def _structure_https_address(value: object, _kind: Any) -> Address:
    return parse_listen(_in_quotes(value, "an address", f"0.0.0.0:{HTTPS_PORT}"), HTTPS_PORT)


def _structure_file(value: object, _kind: Any) -> str:
    text = _in_quotes(value, "a path", "/etc/fastdns/fullchain.pem")
    return str(absolute_path(text.removeprefix("file:"))) if text else ""


def _structure_service_name(value: object, _kind: Any) -> str:
    text = _in_quotes(value, "a name", "dns.example.net")
    if not text:
        return ""
    from .service_name import parse_service_name  # noqa: PLC0415

    return parse_service_name(text)


def _structure_server(value: object, _kind: Any) -> AnyServer:
    return parse_server(_in_quotes(value, "an upstream", "9.9.9.9"))


def _structure_domain(value: object, _kind: Any) -> AnyDomain:
    return parse_domain(_in_quotes(value, "a domain", "corp.example"))


def _structure_plain_domain(value: object, _kind: Any) -> Domain:
    return _plain_domain(value, "home.arpa")


def _structure_own_domain(value: object, _kind: Any) -> OwnDomain:
    if value == "":
        return NO_DOMAIN
    domain = _plain_domain(value, "lan")
    if domain.text == ".":
        raise ValueError('"." would be all names (try "lan")')
    return OwnDomain(domain)


def _plain_domain(value: object, example: str) -> Domain:
    """Return the domain, which may not be a file of domains."""
    domain = parse_domain(value) if isinstance(value, str) else None
    if not isinstance(domain, Domain):
        raise ValueError(f'{describe(value)} is not a domain in quotes (try "{example}")')
    return domain


def _structure_name(value: object, _kind: Any) -> AnyName:
    return parse_pattern(_in_quotes(value, "a name", "*.dyn.example"))


def _structure_addresses(value: object, _kind: Any) -> AnyAddresses:
    text = _in_quotes(value, "an address", "192.0.2.1")
    from .addresses import parse_addresses  # noqa: PLC0415 - see above

    return parse_addresses(text)


def _structure_type(value: object, _kind: Any) -> str:
    text = _in_quotes(value, "a type", "HTTPS")
    from .types import parse_type  # noqa: PLC0415

    parse_type(text)
    return text.upper()


def _structure_record(value: object, _kind: Any) -> AnyRecord:
    text = _in_quotes(value, "a record", "nas.lan. A 192.168.1.10")
    from .records import parse_records  # noqa: PLC0415

    return parse_records(text)


def _structure_leases(value: object, _kind: Any) -> AnyLeases:
    text = _in_quotes(value, "a path", "auto")
    from .leases import parse_leases  # noqa: PLC0415

    return parse_leases(text)


def _structure_hosts(value: object, _kind: Any) -> Path:
    return absolute_path(_in_quotes(value, "a path", "/etc/hosts").removeprefix("file:"))


def _structure_clients(value: object, _kind: Any) -> Clients:
    return parse_clients(_in_quotes(value, "a prefix", "192.168.0.0/16"))


def _in_quotes(value: object, what: str, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{describe(value)} is not {what} in quotes (try "{example}")')
    return value


def _structure_block_list(value: object, _kind: Any) -> AnyList:
    from .block_lists import parse_list  # noqa: PLC0415

    return parse_list(_in_quotes(value, "a list", "https://lists.example/hosts"))


def _structure_maybe_lists(value: object, _kind: Any) -> tuple[Any, ...]:
    return _structure_list(value, tuple[AnyList, ...])


def _structure_block_answer(value: object, _kind: Any) -> str:
    return _structure_word(value, BlockAnswer)


def _structure_view_client(value: object, _kind: Any) -> AnyViewClient:

    return parse_view_client(_in_quotes(value, "a client", "192.168.1.20"))


def _structure_hours(value: object, _kind: Any) -> Hours:
    from .hours import parse_hours  # noqa: PLC0415

    return parse_hours(_in_quotes(value, "a time", "Mon-Fri 20:00-07:00"))


def _structure_size(value: object, _kind: Any) -> int:
    return parse_size(value)


def _structure_duration(value: object, _kind: Any) -> float:
    return parse_duration(value)


_BY_KIND: dict[Any, Callable[[object, Any], Any]] = {
    Strategy: _structure_strategy,
    AnyServer: _structure_server,
    AnyDomain: _structure_domain,
    AnyName: _structure_name,
    AnyAddresses: _structure_addresses,
    TypeName: _structure_type,
    Domain: _structure_plain_domain,
    OwnDomain: _structure_own_domain,
    AnyRecord: _structure_record,
    AnyLeases: _structure_leases,
    HostsFile: _structure_hosts,
    GroupName: _structure_group_name,
    AnyList: _structure_block_list,
    MaybeLists: _structure_maybe_lists,
    MaybeBlockAnswer: _structure_block_answer,
    AnyViewClient: _structure_view_client,
    Hours: _structure_hours,
    Clients: _structure_clients,
    Octets: _structure_size,
    Seconds: _structure_duration,
    Ttl: _structure_duration,
    MaybeTtl: _structure_duration,
    Address: _structure_address,
    TlsAddress: _structure_tls_address,
    HttpsAddress: _structure_https_address,
    MaybeFile: _structure_file,
    ServiceName: _structure_service_name,
    Path: _structure_path,
    str: _structure_text,
    bool: _structure_bool,
    int: _structure_int,
}
_BY_ORIGIN: dict[Any, Callable[[object, Any], Any]] = {
    tuple: _structure_list,
    Literal: _structure_word,
}
