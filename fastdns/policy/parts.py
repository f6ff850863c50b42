"""Modules that only some configurations need: a daemon has only those of its own in memory.

Who needs one imports it in a function. By then `import_parts` has done so, while that was possible.
"""

from __future__ import annotations

from importlib import import_module

import attrs

from ..config.schema import Config
from ..errors import ConfigError, unreadable

OF_FILTERS = ("fastdns.policy.filter_changes", "fastdns.policy.wide_rules")
# By the table of the configuration.
PARTS = {
    "local": ("fastdns.policy.local", "fastdns.machine.own_names"),
    "rule": ("fastdns.policy.rules", "fastdns.policy.rule_changes"),
    "block": ("fastdns.policy.blocking", *OF_FILTERS),
    "view": ("fastdns.policy.blocking", "fastdns.server.views", *OF_FILTERS),
    "protect": ("fastdns.policy.protection", "fastdns.policy.rule_changes"),
    "listen": ("fastdns._certificate", "fastdns.server.ticket_file"),
}


def is_set(config: Config, table: str) -> bool:
    """Whether a table is other than by default; of `listen`, whether it is about encryption."""
    if table == "listen":
        return config.listen.is_encrypted or config.listen.certificate_files is not None
    return bool(getattr(config, table) != attrs.fields_dict(Config)[table].default)


def has_own_names(config: Config) -> bool:
    """Whether fastdns itself has records of names: the owner's, or of its own services."""
    return is_set(config, "local") or bool(config.listen.name and config.listen.is_encrypted)


def has_filters(config: Config) -> bool:
    """Whether something is blocked, or some clients are told something else."""
    return is_set(config, "block") or is_set(config, "view")


def import_parts(config: Config) -> None:
    """Import what the configuration needs. ConfigError: this process cannot read that."""
    for table, modules in PARTS.items():
        if is_set(config, table) or (table == "local" and has_own_names(config)):
            try:
                for module in modules:
                    import_module(module)
            except ImportError as error:
                raise ConfigError(table, unreadable(error)) from None
