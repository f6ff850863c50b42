"""Files and flags to a configuration: every key, and the message for every error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from fastdns.config import load as load_module
from fastdns.config import schema
from fastdns.config.listen import Listen
from fastdns.config.load import load, load_places
from fastdns.config.places import Places
from fastdns.config.schema import Config
from fastdns.config.section import Section
from fastdns.config.structure import Refused, structure
from fastdns.config.text import nearest
from fastdns.config.values import Address, Server, ServerFile
from fastdns.errors import ConfigErrors

# Of cache.memory and of cache.disk; a process of 32 bits has no more addresses.
MOST = ("1GiB", "1GiB") if sys.maxsize < 1 << 32 else ("128TiB", "64TiB")


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of its own: whatever lies in /etc/fastdns does not matter."""
    path = tmp_path / "etc" / "fastdns.toml"
    monkeypatch.setattr(load_module, "DEFAULT_FILE", path)
    return path


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Config]:
    """Load a configuration from its text."""

    def load_text(text: str, **flags: Any) -> Config:
        path = tmp_path / "fastdns.toml"
        path.write_text(text)
        return load(path, **flags)

    return load_text


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., list[str]]:
    """Load a wrong configuration from its text; gives the lines, its file as FILE."""

    def refuse_text(text: str, **flags: Any) -> list[str]:
        path = tmp_path / "fastdns.toml"
        path.write_text(text)
        with pytest.raises(ConfigErrors) as errors:
            load(path, **flags)
        return [line.replace(str(path), "FILE") for line in errors.value.lines]

    return refuse_text


def value_at(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def toml(key: str, value: str) -> str:
    table, _, name = key.rpartition(".")
    return f"[{table}]\n{name} = {value}\n" if table else f"{name} = {value}\n"


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("workers", 1),
        ("log_level", "info"),
        ("listen.dns", (Address("127.0.0.1", 53), Address("::1", 53))),
        ("upstream.servers", ()),
        ("upstream.strategy", "failover"),
        ("upstream.timeout", 1.5),
        ("upstream.attempts", 3),
        ("upstream.trust_ad", False),
        ("cache.memory", 64 << 20),
        ("cache.min_ttl", 0),
        ("cache.max_ttl", 86400),
        ("cache.negative_max_ttl", 3600),
        ("cache.failure_ttl", 5),
        ("cache.disk", 256 << 20),
        ("cache.stale", 86400),
        ("cache.stale_wait", 1.8),
        ("cache.stale_ttl", 30),
        ("cache.prefetch", True),
        ("cache.commit_interval", 30),
    ],
)
def test_empty_file_is_valid_and_means_the_defaults(
    loaded: Callable[..., Config], key: str, default: object
) -> None:
    assert value_at(loaded(""), key) == default


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("workers", "0", 0),
        ("workers", "1", 1),
        ("workers", "256", 256),
        ("state_dir", '"/srv/dns"', Path("/srv/dns")),
        ("run_dir", '"/run/dns"', Path("/run/dns")),
        ("log_level", '"debug"', "debug"),
        ("listen.dns", '["[::]:5353"]', (Address("::", 5353),)),
        ("listen.dns", '["127.0.0.1:0", "127.0.0.1:0"]', (Address("127.0.0.1", 0),) * 2),
        (
            "upstream.servers",
            '["9.9.9.9", "tcp://[2620:fe::fe]:5353"]',
            (Server("udp", Address("9.9.9.9", 53)), Server("tcp", Address("2620:fe::fe", 5353))),
        ),
        ("upstream.strategy", '"round-robin"', "round-robin"),
        ("upstream.timeout", '"200ms"', 0.2),
        ("upstream.timeout", '"10s"', 10),
        ("upstream.attempts", "10", 10),
        ("upstream.trust_ad", "true", True),
        ("cache.memory", '"1MiB"', 1 << 20),
        ("cache.memory", "1048576", 1 << 20),
        ("cache.min_ttl", '"1m"', 60),
        ("cache.max_ttl", '"2147483647s"', 2**31 - 1),
        ("cache.max_ttl", '"0s"', 0),
        ("cache.negative_max_ttl", '"5m"', 300),
        ("cache.failure_ttl", '"1s"', 1),
        ("cache.failure_ttl", '"5m"', 300),
        ("cache.disk", '"0"', 0),
        ("cache.disk", "0", 0),
        ("cache.disk", '"1MiB"', 1 << 20),
        ("cache.disk", '"1GiB"', 1 << 30),
        ("cache.stale", '"0s"', 0),
        ("cache.stale", '"3d"', 259200),
        ("cache.stale_wait", '"0s"', 0),
        ("cache.stale_wait", '"10s"', 10),
        ("cache.stale_ttl", '"1s"', 1),
        ("cache.prefetch", "false", False),
        ("cache.commit_interval", '"1s"', 1),
        ("cache.commit_interval", '"1h"', 3600),
    ],
)
def test_key_takes_its_value(
    loaded: Callable[..., Config], key: str, written: str, value: object
) -> None:
    assert value_at(loaded(toml(key, written)), key) == value


@pytest.mark.parametrize(
    ("key", "written", "problem"),
    [
        ("workers", "257", "is 257; must be at most 256"),
        ("workers", "-1", "is -1; must be at least 0"),
        ("workers", "3.9", "3.9 is not an integer (try 1)"),
        ("workers", "true", "true is not an integer (try 1)"),
        ("workers", "0x" + "f" * 9999, "a number this large is too large (try 1)"),
        ("state_dir", "5", '5 is not a path in quotes (try "/var/lib/fastdns")'),
        ("state_dir", '"data"', '"data" is not an absolute path (begin it with /)'),
        ("run_dir", '""', '"" is not an absolute path (begin it with /)'),
        ("run_dir", '"/a\\u0000b"', '"/a\\u0000b" contains a NUL byte'),
        ("log_level", '"loud"', '"loud" is not one of "debug", "info", "warning", "error"'),
        (
            "log_level",
            '"warn"',
            '"warn" is not one of "debug", "info", "warning", "error" (did you mean "warning"?)',
        ),
        ("log_level", "[]", 'a list is not one of "debug", "info", "warning", "error"'),
        ("listen", "5", "5 is not a table (try [listen])"),
        ("listen.dns", '"127.0.0.1"', '"127.0.0.1" is not a list (put it in [ ])'),
        ("listen.dns", "[53]", '53 is not an address in quotes (try "127.0.0.1:53")'),
        (
            "listen.dns",
            "[]",
            'is empty; fastdns needs an address to listen on (try ["127.0.0.1:53"])',
        ),
        (
            "listen.dns",
            '["127.0.0.1:53", "127.0.0.1"]',
            '"127.0.0.1:53" is listed more than once (keep one)',
        ),
        (
            "listen.dns",
            '["::1:x"]',
            '"::1:x" is not an IP address, with or without a port '
            '(try "127.0.0.1:53" or "0.0.0.0:53")',
        ),
        ("upstream.servers", "[9]", '9 is not an upstream in quotes (try "9.9.9.9")'),
        (
            "upstream.servers",
            '["tls://9.9.9.9"]',
            '"tls://9.9.9.9": an encrypted upstream (tls://) is not in this version of fastdns',
        ),
        (
            "upstream.servers",
            '["127.0.0.1"]',
            '"127.0.0.1:53" is an address fastdns itself listens on (name another resolver)',
        ),
        (
            "upstream.strategy",
            '"fastest"',
            '"fastest" is not in this version of fastdns (try "failover")',
        ),
        (
            "upstream.strategy",
            '"race"',
            '"race" is not in this version of fastdns (try "failover")',
        ),
        (
            "upstream.strategy",
            '"roundrobin"',
            '"roundrobin" is not one of "failover", "round-robin" (did you mean "round-robin"?)',
        ),
        ("upstream.timeout", "2", '2 has no unit (try "2s")'),
        ("upstream.timeout", '"0s"', "is 0s; must be at least 0.001s"),
        ("upstream.timeout", '"11s"', "is 11s; must be at most 10s"),
        ("upstream.timeout", "2024-01-01", '2024-01-01 is not a duration (try "30s")'),
        ("upstream.attempts", "0", "is 0; must be at least 1"),
        ("upstream.attempts", "11", "is 11; must be at most 10"),
        ("upstream.attempts", "3.9", "3.9 is not an integer (try 1)"),
        ("upstream.attempts", '"3"', '"3" is not an integer (try 3)'),
        ("upstream.trust_ad", "1", "1 is not a boolean (try true or false)"),
        ("upstream.trust_ad", '"yes"', '"yes" is not a boolean (try true or false)'),
        ("cache.memory", '"64MX"', '"64MX" is not a size (try "64MiB")'),
        ("cache.memory", '"1023KiB"', "is 1023KiB; must be at least 1MiB"),
        ("cache.memory", '"129TiB"', f"is 129TiB; must be at most {MOST[0]}"),
        ("cache.memory", "6.4e7", '64000000.0 is not a size (try "64MiB")'),
        ("cache.min_ttl", '"1.5s"', "is 1.5s; must be whole seconds"),
        ("cache.min_ttl", '"2d"', None),
        ("cache.max_ttl", '"25000d"', "is 2160000000s; must be at most 2147483647s"),
        ("cache.max_ttl", '"-1s"', '"-1s" is not a duration (try "30s")'),
        ("cache.negative_max_ttl", '"500ms"', "is 0.5s; must be whole seconds"),
        ("cache.negative_max_ttl", "true", 'true is not a duration (try "30s")'),
        ("cache.failure_ttl", '"0s"', "is 0s; must be at least 1s"),
        ("cache.failure_ttl", '"301s"', "is 301s; must be at most 300s"),
        ("cache.disk", '"1023KiB"', 'is 1023KiB; must be at least 1MiB (or "0" for no disk cache)'),
        ("cache.disk", '"1000TiB"', f"is 1000TiB; must be at most {MOST[1]}"),
        ("cache.disk", '"none"', '"none" is not a size (try "64MiB")'),
        ("cache.disk", "false", 'false is not a size (try "64MiB")'),
        ("cache.disk", "-1", '-1 is not a size (try "64MiB")'),
        ("cache.stale", '"1.5s"', "is 1.5s; must be whole seconds"),
        ("cache.stale", '"25000d"', "is 2160000000s; must be at most 2147483647s"),
        ("cache.stale", "true", 'true is not a duration (try "30s")'),
        ("cache.stale_wait", "2", '2 has no unit (try "2s")'),
        ("cache.stale_wait", '"10001ms"', "is 10.001s; must be at most 10s"),
        ("cache.stale_ttl", '"0s"', "is 0s; must be at least 1s"),
        ("cache.stale_ttl", '"1500ms"', "is 1.5s; must be whole seconds"),
        ("cache.prefetch", "1", "1 is not a boolean (try true or false)"),
        ("cache.prefetch", '"true"', '"true" is not a boolean (try true or false)'),
        ("cache.commit_interval", '"999ms"', "is 0.999s; must be at least 1s"),
        ("cache.commit_interval", '"61m"', "is 3660s; must be at most 3600s"),
        ("cache.commit_interval", "30", '30 has no unit (try "30s")'),
    ],
)
def test_wrong_value_is_one_line_with_file_and_key(
    refused: Callable[..., list[str]], key: str, written: str, problem: str | None
) -> None:
    line = f"FILE: {key}: {problem}"
    if problem is None:  # right in itself, but above the default of another key
        line = "FILE: cache.max_ttl: is 86400s; must be at least min_ttl (172800s)"
    assert refused(toml(key, written)) == [line]


@pytest.mark.parametrize(
    ("cache", "problems"),
    [
        (
            'min_ttl = "2d"\nmemory = 7\n',
            ["memory: is 7; must be at least 1MiB", "max_ttl: is 86400s; must be at least min_ttl"],
        ),
        ('min_ttl = "2d"\nmax_ttl = "x"\n', ['max_ttl: "x" is not a duration (try "30s")']),
        ('min_ttl = "x"\nmax_ttl = "1s"\n', ['min_ttl: "x" is not a duration (try "30s")']),
    ],
)
def test_contradiction_is_told_beside_other_errors_unless_it_comes_of_them(
    refused: Callable[..., list[str]], cache: str, problems: list[str]
) -> None:
    told = refused(f"[cache]\n{cache}")
    assert all(f"FILE: cache.{one}" in line for line, one in zip(told, problems, strict=True))


def test_upstream_that_is_ourselves_is_told_beside_a_state_dir_that_is_wrong(
    refused: Callable[..., list[str]],
) -> None:
    told = refused('state_dir = "here"\n[upstream]\nservers = ["127.0.0.1"]\n')
    assert "state_dir" in told[0]
    assert "is an address fastdns itself listens on" in told[1]


@pytest.mark.parametrize(
    "key",
    [
        *(
            "access.rate_burst",
            "log",
            "admin",
            "client",
        ),
        *("log_queries", "query_log"),
        "listen.quic",
        *("upstream.ecs", "upstream.bootstrap"),
        "cache.redis",
    ],
)
def test_key_of_a_later_version_is_refused_in_those_words(
    refused: Callable[..., list[str]], key: str
) -> None:
    line = f"FILE: {key}: is not in this version of fastdns (leave it out)"
    assert refused(toml(key, '"x"')) == [line]


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("# mine\nserver:\n    interface: 0.0.0.0\n", "unbound.conf"),
        ("forward-zone:\n\tname: .\n", "unbound.conf"),
        ("# mine\n\nserver=9.9.9.9\n", "dnsmasq.conf"),
        ("domain-needed\nbogus-priv\n", "dnsmasq.conf"),
        ("address=/x.demo/192.0.2.1\n", "dnsmasq.conf"),
    ],
)
def test_file_of_another_program_is_recognized(
    refused: Callable[..., list[str]], text: str, program: str
) -> None:
    (line,) = refused(text)
    assert line.startswith("FILE: is not valid TOML: ")
    assert line.endswith(f" (this looks like {program}: fastdns import-config converts it)")


@pytest.mark.parametrize(
    "text",
    [
        "workers=1\n[listen\n",
        "[cache]\nmemory=\n",
        "log_level='info\n",
        'state_dir="/x\n',
        "x = [\n",
    ],
)
def test_toml_with_an_error_is_not_taken_for_the_file_of_another_program(
    refused: Callable[..., list[str]], text: str
) -> None:
    (line,) = refused(text)
    assert "looks like" not in line


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("cache.memry", "is not a known key (did you mean cache.memory?)"),
        ("cahce", "is not a known key (did you mean cache?)"),
        ("memory", "is not a known key (did you mean cache.memory?)"),
        ("cache.timeout", "is not a known key (did you mean upstream.timeout?)"),
        (
            "upstream.xyzzy",
            "is not a known key (known here: servers, strategy, timeout, attempts, trust_ad)",
        ),
        ('cache."me\\nmory"', "is not a known key (did you mean cache.memory?)"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(
    refused: Callable[..., list[str]], key: str, problem: str
) -> None:
    shown = key.replace("\\n", "\\u000a")
    assert refused(toml(key, "1")) == [f"FILE: {shown}: {problem}"]


def test_all_that_is_wrong_is_told_at_once(refused: Callable[..., list[str]]) -> None:
    text = """
        workers = "two"
        [listen]
        dns = ["here:53", "127.0.0.1:70000"]
        [upstream]
        timeout = "1.5s"
        attempts = 0
        [cache]
        max_ttl = "5s"
        min_ttl = "60s"
    """
    assert refused(text) == [
        'FILE: workers: "two" is not an integer (try 1)',
        'FILE: listen.dns: "here:53" is a name; this version of fastdns needs an IP address '
        '(try "127.0.0.1:53" or "0.0.0.0:53")',
        'FILE: listen.dns: "127.0.0.1:70000" has an impossible port (use 0 to 65535)',
        "FILE: upstream.attempts: is 0; must be at least 1",
        "FILE: cache.max_ttl: is 5s; must be at least min_ttl (60s)",
    ]


def test_array_of_tables_is_refused_where_a_table_belongs(
    refused: Callable[..., list[str]],
) -> None:
    assert refused('[[cache]]\nmemory = "64MiB"\n') == [
        "FILE: cache: a list is not a table (try [cache])"
    ]


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:5353", "127.0.0.1:5353"),
        ("127.0.0.1:5353", "tcp://127.0.0.1:5353"),
        ("0.0.0.0:53", "127.0.0.53"),
        ("[::]:53", "::1"),
        ("192.0.2.1:53", "192.0.2.1"),
        ("127.0.0.1:53", "::ffff:127.0.0.1"),
    ],
)
def test_upstream_that_is_ourselves_is_refused(
    refused: Callable[..., list[str]], listen: str, upstream: str
) -> None:
    (line,) = refused("", listen=[listen], upstream=[upstream])
    assert line.startswith("--upstream: ")
    assert line.endswith(" is an address fastdns itself listens on (name another resolver)")


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:5353", "127.0.0.1:53"),
        ("127.0.0.1:53", "127.0.0.53:53"),
        ("0.0.0.0:53", "192.0.2.1:53"),
        ("[::]:53", "127.0.0.1:53"),
    ],
)
def test_upstream_that_is_another_on_this_host_is_accepted(
    loaded: Callable[..., Config], listen: str, upstream: str
) -> None:
    assert len(loaded("", listen=[listen], upstream=[upstream]).upstream.servers) == 1


def test_listen_on_a_free_port_covers_nothing() -> None:
    assert not Listen(dns=(Address("127.0.0.1", 0),)).covers(Address("127.0.0.1", 53))


def test_flags_win_over_the_file(loaded: Callable[..., Config]) -> None:
    config = loaded(
        'workers = 2\nstate_dir = "/a"\nrun_dir = "/b"\n'
        '[listen]\ndns = ["127.0.0.1:1"]\n[upstream]\nservers = ["9.9.9.9"]\ntimeout = "2s"\n',
        listen=["127.0.0.1:2", "[::1]:2"],
        upstream=["1.1.1.1"],
        state="/srv/dns",
        workers=0,
    )
    assert config.workers == 0
    assert config.listen.dns == (Address("127.0.0.1", 2), Address("::1", 2))
    assert [str(server) for server in config.upstream.servers] == ["1.1.1.1:53"]
    assert config.upstream.timeout == 2
    assert (config.state_dir, config.run_dir) == (Path("/srv/dns"), Path("/srv/dns/run"))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            {"listen": ["127.0.0.1:99999"]},
            '--listen: "127.0.0.1:99999" has an impossible port (use 0 to 65535)',
        ),
        (
            {"listen": ["127.0.0.1:53", "127.0.0.1:53"]},
            '--listen: "127.0.0.1:53" is listed more than once (keep one)',
        ),
        (
            {"upstream": ["sdns://AQ"]},
            '--upstream: "sdns://AQ": an encrypted upstream (sdns://) '
            "is not in this version of fastdns",
        ),
        ({"state": ""}, '--state: "" is not an absolute path (begin it with /)'),
        ({"state": "/a\udcff"}, '--state: "/a\\udcff" is not UTF-8 text'),
        ({"workers": -4}, "--workers: is -4; must be at least 0"),
    ],
)
def test_wrong_flag_is_one_line_with_the_flag(
    refused: Callable[..., list[str]], flags: dict[str, Any], line: str
) -> None:
    assert refused("", **flags) == [line]


def test_flag_does_not_hide_that_its_table_is_no_table(refused: Callable[..., list[str]]) -> None:
    assert refused("listen = 5\n", listen=["127.0.0.1:0"]) == [
        "FILE: listen: 5 is not a table (try [listen])"
    ]


def test_relative_state_flag_is_taken_from_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, state="dns").state_dir == tmp_path / "dns"


def test_wrong_flag_without_a_file_names_no_file() -> None:
    with pytest.raises(ConfigErrors) as errors:
        load(None, listen=["127.0.0.1:0"], upstream=["127.0.0.1:0"])
    assert errors.value.lines == [
        '--upstream: "127.0.0.1:0" has an impossible port (use 1 to 65535)'
    ]


def test_default_file_is_used_when_it_exists(no_default_file: Path) -> None:
    assert load(None).upstream.attempts == 3
    no_default_file.parent.mkdir()
    no_default_file.write_text("[upstream]\nattempts = 5\n")
    assert load(None).upstream.attempts == 5
    no_default_file.write_text("[upstream]\nattempts = 50\n")
    with pytest.raises(ConfigErrors) as errors:
        load(None)
    assert errors.value.lines == [
        f"{no_default_file}: upstream.attempts: is 50; must be at most 10"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = \n", "is not valid TOML: Invalid value (at line 1, column 11)"),
        ("[cache]\n[cache]\n", "[cache] appears twice, in lines 1 and 2"),
        ("x = " + "[" * 100_000, "is not valid TOML: too deeply nested"),
        ("workers = " + "1" * 5000, "is not valid TOML: Exceeds the limit (4300 digits)"),
        ("#" * (2**20 + 1), "is larger than 1MiB"),
    ],
)
def test_file_that_is_not_toml_is_one_line(
    refused: Callable[..., list[str]], text: str, problem: str
) -> None:
    (line,) = refused(text)
    assert line.startswith(f"FILE: {problem}")
    assert "\n" not in line


def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x80")
    for path, problem in (
        (tmp_path / "missing", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary / "below", "cannot be read: Not a directory"),
        (binary, "is not UTF-8 text (byte 1)"),
        (Path("/dev/zero"), "is larger than 1MiB"),
    ):
        with pytest.raises(ConfigErrors) as errors:
            load(path)
        assert errors.value.lines == [f"{path}: {problem}"]


def test_file_may_begin_with_a_byte_order_mark(loaded: Callable[..., Config]) -> None:
    assert loaded("\ufeffworkers = 1\r\n").workers == 1


def test_server_file_with_an_upstream_is_accepted_whatever_else_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    path.write_text("rubbish\n9.9.9.9\n")
    assert load(None, upstream=[f"file:{path}"]).upstream.servers == (ServerFile(path),)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, ": cannot be read: No such file or directory"),
        ("# none\n", ": contains no upstream (write one per line)"),
        (
            "9.9.9\n",
            ':1: "9.9.9" is not an IP address, with or without a port '
            '(try "9.9.9.9" or "127.0.0.1:53")',
        ),
    ],
)
def test_server_file_without_an_upstream_is_refused(
    refused: Callable[..., list[str]], tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "ip"
    if content is not None:
        path.write_text(content)
    text = toml("upstream.servers", f'["file:{path}"]')
    assert refused(text) == [f"FILE: upstream.servers: {path}{problem}"]


def test_server_file_that_names_ourselves_is_refused(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "ip"
    path.write_text("9.9.9.9\n127.0.0.1\n")
    assert refused(toml("upstream.servers", f'["file:{path}"]')) == [
        'FILE: upstream.servers: "127.0.0.1:53" is an address fastdns itself listens on '
        "(name another resolver)"
    ]


def test_places_are_found_in_a_file_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "fastdns.toml"
    path.write_text('state_dir = "/srv/dns"\nwrokers = 1\n')
    assert load_places(path) == Places(Path("/srv/dns"), Path("/srv/dns/run"))
    assert load_places(path, state="/other") == Places(Path("/other"), Path("/other/run"))


def test_places_that_are_wrong_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fastdns.toml"
    path.write_text('state_dir = 5\nrun_dir = "run"\n')
    with pytest.raises(ConfigErrors) as errors:
        load_places(path)
    assert sorted(errors.value.lines) == [
        f'{path}: run_dir: "run" is not an absolute path (begin it with /)',
        f'{path}: state_dir: 5 is not a path in quotes (try "/var/lib/fastdns")',
    ]


def test_workers_0_is_one_for_each_cpu_that_this_process_may_use(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert load(None, state=tmp_path, workers=0).worker_count == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert load(None, state=tmp_path, workers=0).worker_count == len(allowed)
    assert load(None, state=tmp_path, workers=3).worker_count == 3


@pytest.mark.parametrize(
    ("memory", "workers", "share"),
    [("64MiB", 1, 64 << 20), ("64MiB", 4, 16 << 20), ("1MiB", 200, 64 << 10)],
)
def test_memory_is_shared_out_among_workers_but_not_in_shares_too_small_to_use(
    loaded: Callable[..., Config], memory: str, workers: int, share: int
) -> None:
    config = loaded(f'workers = {workers}\n[cache]\nmemory = "{memory}"\n')
    assert config.worker_memory == share


@attrs.frozen
class _Inner(Section):
    ports: tuple[int, ...] = ()


@attrs.frozen
class _Outer(Section):
    group: tuple[_Inner, ...] = ()


attrs.resolve_types(_Inner, globals())
attrs.resolve_types(_Outer, globals())


def test_what_is_wrong_in_a_list_of_tables_is_told_with_its_place() -> None:
    data = {"group": [{"ports": [1]}, {"prots": 1}, 5, {"ports": [1, "x"]}]}
    with pytest.raises(Refused) as refused:
        structure(data, _Outer)
    assert [str(problem) for problem in refused.value.problems] == [
        "group[1].prots: is not a known key (did you mean ports?)",
        "group[2]: 5 is not a table (try [[_inner]])",
        'group[3].ports: "x" is not an integer (try 1)',
    ]


def test_guess_is_left_out_where_difflib_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "difflib", None)  # as for one that has given up root
    assert nearest("memroy", ["memory"]) is None


@pytest.mark.parametrize(
    ("machine", "memory"), [(64, 8), (128, 8), (497, 31), (512, 32), (1024, 64), (1 << 20, 64)]
)
def test_memory_that_is_not_set_is_a_sixteenth_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, loaded: Callable[..., Config], machine: int, memory: int
) -> None:
    monkeypatch.setattr(schema, "machine_memory", lambda: (machine << 20) + 4096)
    assert loaded("[cache]\n").cache.memory == memory << 20
    assert loaded('[cache]\nmemory = "100MiB"\n').cache.memory == 100 << 20
