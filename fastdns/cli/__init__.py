"""The command fastdns. Each command has a file, imported on demand: `serve` loads no rich."""

from __future__ import annotations

import io
import sys

import click

from .. import __version__
from ..errors import ConfigErrors, FastdnsError
from .lazy import LazyGroup
from .output import fail

COMMANDS = {
    "serve": "Answer queries until stopped.",
    "reload": "Reload the configuration without losing a query.",
    "check": "Check a configuration and print all settings.",
    "import-config": "Convert a configuration of unbound or dnsmasq.",
    "cache": "Show and change the cache on disk.",
    "lists": "Show block lists, fetch them, or find a name in them.",
    "allow": "Allow a domain at run time.",
    "deny": "Block a domain at run time.",
    "rules": "Show the rules of allow and deny, or remove some.",
    "pause": "Block nothing for a while.",
    "resume": "Block again after a pause.",
    "why": "Explain what is answered to a name, and why.",
    "status": "Show the state of the running daemon on one screen.",
    "stats": "Print the counters of the running daemon.",
    "clients": "Show who has asked, in which view, and how much.",
    "top": "Show rates, latencies, names and upstreams live.",
    "certificate": "Show the certificate in use, or make one to try with.",
    "profile": "Print a profile for iPhones, iPads and Macs.",
    "doctor": "Find what keeps fastdns from working, and fix it.",
    "demo": "Measure what the cache gains, without network or root.",
}


# Words of unbound-control for commands of `fastdns cache`.
UNBOUND_CONTROL = {
    word: ("cache", word)
    for word in (
        *("lookup", "flush_type", "flush_zone", "flush_negative"),
        *("dump_cache", "load_cache", "dump_requestlist"),
    )
}
# Commands of `fastdns cache` that are accepted without "cache".
OF_CACHE = ("ls", "get", "rm", "refresh", "verify", "export", "import", "dump", "load")
HINTS = {word: f"it is a cache command: fastdns cache {word}" for word in OF_CACHE} | {
    "flush": "to remove one name: fastdns cache rm NAME; "
    "with all names under it: fastdns cache flush --under NAME",
    "upstreams": "fastdns status shows the state of the upstreams, fastdns stats their counters",
    "block": "to block a name: fastdns deny NAME",
    "unblock": "to allow a name: fastdns allow NAME",
    "disable": "to block nothing for a while: fastdns pause 5m",
    "enable": "to block again after a pause: fastdns resume",
    "version": "run fastdns --version",
    "start": "run fastdns serve; to start the service: systemctl start fastdns",
    "stop": "press Ctrl-C where fastdns serve runs; to stop the service: systemctl stop fastdns",
    "restart": "to load the configuration again: fastdns reload; to restart the service: "
    "systemctl restart fastdns",
    "reload_keep_cache": "run fastdns reload, which keeps the cache",
    "flush_bogus": "fastdns does not validate; to remove all failures: "
    "fastdns cache flush --rcode SERVFAIL",
    **dict.fromkeys(
        ("forward_add", "forward_remove"),
        "edit the [[forward]] tables of the configuration, then: fastdns reload",
    ),
    **dict.fromkeys(
        ("local_data", "local_datas", "local_data_remove", "list_local_data"),
        'write records into the configuration: local.records = ["nas.lan. A 192.168.1.10"], '
        "then: fastdns reload",
    ),
    **dict.fromkeys(
        ("local_zone", "local_zones", "local_zone_remove", "list_local_zones"),
        "edit the configuration, then: fastdns reload. local.domain is your own domain; a "
        '[[forward]] table with answer = "nxdomain" blocks one; local.ask_upstream is nodefault',
    ),
    **dict.fromkeys(
        ("view_list", "view_local_zone", "view_local_data"),
        "edit the [[view]] tables of the configuration, then: fastdns reload; "
        "fastdns clients shows who is in which",
    ),
    "import": "to read a cache: fastdns cache import FILE; to convert a configuration of unbound "
    "or dnsmasq: fastdns import-config FILE",
}


class _Commands(LazyGroup):
    package = __name__
    summaries = COMMANDS
    aliases = UNBOUND_CONTROL
    hints = HINTS


# Without a command it is bad use, in any version of click.
@click.group(
    cls=_Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="fastdns %(version)s")
def _fastdns() -> None:
    """A caching DNS forwarder."""


def main() -> int:
    """Run the command line; return 2 for bad use or configuration, 1 for a failure, else 0.

    click handles a reader that leaves early (`| head -1`): a silent end, status 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale may lack a character: "µs"
    try:
        status = _fastdns.main(prog_name="fastdns", standalone_mode=False)
    except click.Abort:  # click's status after Ctrl-C
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigErrors as errors:
        for line in errors.lines:
            click.echo(line, err=True)
        return 2
    except FastdnsError as error:
        return fail(str(error))
    return status or 0
