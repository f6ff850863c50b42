"""The keys with default and meaning: for reference.toml and the table in docs/configuration.md."""

import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastdns.config.block_lists import parse_list
from fastdns.config.domains import parse_domain, parse_pattern
from fastdns.config.filters import View
from fastdns.config.groups import Forward
from fastdns.config.hours import parse_hours
from fastdns.config.meanings import KEYS, TABLES
from fastdns.config.places import SYSTEM_RUN, SYSTEM_STATE
from fastdns.config.render import render
from fastdns.config.schema import MEMORY_MOST, Cache, Config, Rule
from fastdns.config.servers import parse_server
from fastdns.config.values import Ttl
from fastdns.config.view_clients import parse_view_client

WIDTH = 100
MEANINGS = "fastdns/config/meanings.py"
HEAD = """\
# All settings of fastdns with their defaults; fastdns.toml(5) describes them. Copy a line that you
# change to /etc/fastdns/fastdns.toml or to a file in /etc/fastdns/conf.d, without the "#".
#
#   fastdns check     is this file valid, and what would be in effect?
#   fastdns reload    use it now, without losing a query (or: systemctl reload fastdns)
"""
EXAMPLES = {
    "listen.dns": 'dns = ["0.0.0.0:53", "[::]:53"]   # the whole LAN; [access] says who may ask'
}
# Of tables there may be none or many: what the keys say that have no default.
GROUP = Forward(
    name="corp",
    domains=(parse_domain("corp.example"), parse_domain("10.in-addr.arpa")),
    servers=(parse_server("10.0.0.53"),),
)
RULE = Rule(
    names=(parse_pattern("*.dyn.example"), parse_pattern("host.example")),
    min_ttl=Ttl(60.0),
    max_ttl=Ttl(3600.0),
    stale=Ttl(3600.0),
)
VIEW = View(
    name="kids",
    clients=(parse_view_client("192.168.1.20"), parse_view_client("aa:bb:cc:dd:ee:ff")),
    when=parse_hours("Mon-Fri 20:00-07:00"),
    lists=(parse_list("https://lists.example/hosts"),),
    allow_lists=(),
    answer="nxdomain",
)
MANY = {
    "forward": ("name", "domains", "servers"),
    "rule": ("names", "min_ttl", "max_ttl", "stale"),
    "view": ("name", "clients", "when", "lists", "allow_lists", "answer"),
}
KEY_TABLE = re.compile(r"^\| *key *\| *default *\|.*\n\|[-:| ]+\n(?:\|.*\n)+", re.M)


@dataclass(frozen=True)
class Setting:
    """One key: its table ("" for none), its name there and its default, or an example, as TOML."""

    table: str
    name: str
    default: str

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name

    @property
    def meaning(self) -> str:
        if self.path not in KEYS:
            raise SystemExit(f"{self.path} has no meaning yet: add a line to KEYS in {MEANINGS}")
        return KEYS[self.path]


def settings() -> Iterator[Setting]:
    """Yield all keys in the order of the schema, with the defaults of root on most machines."""
    table = ""
    defaults = Config(
        state_dir=SYSTEM_STATE,
        run_dir=SYSTEM_RUN,
        forward=(GROUP,),
        cache=Cache(memory=MEMORY_MOST),
        rule=(RULE,),
        view=(VIEW,),
    )
    for line in render(defaults).splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        elif line:
            name, _, default = line.partition(" = ")
            yield Setting(table, name, default)


def toml() -> str:
    """Return reference.toml: every key commented out; taken in, they change nothing.

    But for tables that there may be many of: of each there is then the one of the example.
    """
    parts, table = [HEAD], ""
    for setting in settings():
        if setting.table != table:
            table = setting.table
            heading = f"#[[{table}]]\n" if table in MANY else f"[{table}]\n"
            parts.append(_comment(TABLES[table]) + heading)
        text = _comment(sentence(setting.meaning)) + f"#{setting.name} = {setting.default}\n"
        if example := EXAMPLES.get(setting.path):
            text += f"# {example}\n"
        parts.append(text)
    return "\n".join(parts)


def _comment(text: str) -> str:
    text = re.sub(r'`("[^`]*")`', r"\1", text)  # one kind of quotes is enough
    lines = textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def sentence(text: str) -> str:
    """Return a meaning with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def key_table() -> str:
    """Return the table of keys for docs/configuration.md."""
    rows = [f"| `{one.path}` | {_shown_default(one)} | {one.meaning} |\n" for one in settings()]
    return "| key | default | meaning |\n|---|---|---|\n" + "".join(rows)


def _shown_default(setting: Setting) -> str:
    return "" if setting.name in MANY.get(setting.table, ()) else f"`{setting.default}`"


def with_key_table(document: str) -> str:
    """Return a document whose first table of keys is the one that there should be."""
    return KEY_TABLE.sub(lambda _: key_table(), document, count=1)


def replace(file: Path, text: str) -> None:
    """Write a file at once or not at all."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(name, 0o644)
    os.replace(name, file)
