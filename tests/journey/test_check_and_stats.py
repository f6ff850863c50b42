"""`fastdns check` and `fastdns stats` for their users: output, errors, exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fastdns._counters import COUNTERS
from fastdns.counters import Pages

from .support.client import ask, eventually
from .support.commands import fastdns
from .support.daemon import Fastdns, address_of
from .support.false_upstream import Asked, FalseUpstream, answer_a, silence

FASTDNS = [sys.executable, "-m", "fastdns"]
STARTED_AT = 1_700_000_000.25
PLAIN = re.compile(r"\x1b\[[0-9;]*m|\r")  # what a terminal takes for colours and lines
CERTIFICATE = ["certificate_not_after_seconds", "certificate_days_left"]
LATENCIES = [
    f"latency_{kind}_{figure}"
    for kind in ("hits", "misses")
    for figure in ("count", "p50_seconds", "p95_seconds", "p99_seconds")
]


def run(*arguments: str, text_in: str = "") -> subprocess.CompletedProcess[str]:
    return fastdns(*arguments, text_in=text_in)


def run_on_terminal(*arguments: str, program: Sequence[str] = FASTDNS, columns: int = 120) -> str:
    """What the command draws on a terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([*program, *arguments], stdout=theirs, env=environment) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            drawn += part
        os.close(ours)
    assert process.returncode == 0
    return drawn.decode()


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "fastdns.toml"
    path.write_text(f'state_dir = "{tmp_path}/state"\n[upstream]\nservers = ["9.9.9.9"]\n')
    return path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The directory of a daemon that runs: its lock is held, its counters lie there."""
    directory = tmp_path / "state"
    (directory / "run").mkdir(parents=True)
    counters = Pages.create(str(directory / "run" / "counters"), 2, STARTED_AT)
    counters.counters(0).add("cache_hits_total", 1000)
    counters.counters(1).add("cache_hits_total", 234)
    counters.counters(1).add("disk_written_bytes_total", 1 << 40)
    counters.counters(1).observe_miss(0.25)
    # A name that would clear the screen of whoever looks, as somebody who is not root may leave it.
    counters.counters(1).show_upstreams(
        [("192.0.2.1:53", True, 0.0125, 50, 2), ("tcp://\x1b[2J", False, None, 7, 7)]
    )
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def test_check_prints_a_configuration_that_it_accepts_again(config_file: Path) -> None:
    first = run("check", "-c", str(config_file))
    assert first.returncode == 0
    assert first.stdout.startswith(f"# valid: {config_file}; ")
    assert 'servers = ["9.9.9.9:53"]' in first.stdout
    again = run("check", "-c", "/dev/stdin", text_in=first.stdout)
    assert again.returncode == 0
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]


def test_check_and_the_log_name_both_places_of_a_key(config_file: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[upstream]\nservers = ["tls://9.9.9.9"]\n')
    config_file.write_text(f'include = ["more.toml"]\n{config_file.read_text()}')
    done = run("check", "-c", str(config_file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f'{more}: upstream.servers: "tls://9.9.9.9": ')

    more.write_text('[upstream]\nservers = ["192.0.2.1"]\n')
    note = f"upstream.servers: {more}:2 replaces {config_file}:4"
    shown = run("check", "-c", str(config_file)).stdout
    assert 'servers = ["192.0.2.1:53"]' in shown
    assert f"# {note}\n" in shown
    config_file.write_text(f'{config_file.read_text()}[listen]\ndns = ["192.0.2.1:1"]\n')
    served = run("serve", "-c", str(config_file))  # which has no such address
    assert served.returncode == 1
    assert note in served.stderr.splitlines()[0]


def test_check_shows_what_flags_change(config_file: Path) -> None:
    flags = ["--listen", "127.0.0.1:5353", "--upstream", "tcp://[::1]:5300", "--state", "other"]
    shown = run("check", "-c", str(config_file), *flags).stdout
    assert 'dns = ["127.0.0.1:5353"]' in shown
    assert 'servers = ["tcp://[::1]:5300"]' in shown
    assert f'state_dir = "{Path.cwd()}/other"' in shown


@pytest.mark.parametrize("command", ["check", "serve"])
def test_wrong_configuration_is_told_line_by_line_with_status_2(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[cache]\nmemory = "64MX"\nredis = "1d"\n')
    outcome = run(command, "-c", str(path), "--listen", "127.0.0.1:99999")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert sorted(outcome.stderr.splitlines()) == [
        '--listen: "127.0.0.1:99999" has an impossible port (use 0 to 65535)',
        f'{path}: cache.memory: "64MX" is not a size (try "64MiB")',
        f"{path}: cache.redis: is not in this version of fastdns (leave it out)",
    ]


@pytest.mark.parametrize("command", ["check", "serve", "stats", "top"])
def test_missing_configuration_is_one_line_with_status_2(tmp_path: Path, command: str) -> None:
    outcome = run(command, "-c", str(tmp_path / "none.toml"))
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr == f"{tmp_path}/none.toml: cannot be read: No such file or directory\n"


def test_check_warns_of_lines_in_a_server_file_that_are_left_out(tmp_path: Path) -> None:
    servers = tmp_path / "ip"
    servers.write_text("9.9.9.9\nrubbish\n")
    outcome = run("check", "-c", "/dev/null", "--upstream", f"file:{servers}")
    assert outcome.returncode == 0
    assert f'warning: {servers}:2: "rubbish" is a name; ' in outcome.stderr


def test_check_warns_of_more_workers_than_processors(tmp_path: Path) -> None:
    path = tmp_path / "fastdns.toml"
    cpus = len(os.sched_getaffinity(0))
    path.write_text(f"workers = {cpus}\n")
    assert "workers" not in run("check", "-c", str(path)).stderr
    path.write_text(f"workers = {cpus + 1}\n")
    outcome = run("check", "-c", str(path))
    assert outcome.returncode == 0
    assert f"warning: workers: is {cpus + 1}, but fastdns may use {cpus} CPU" in outcome.stderr


def test_check_warns_of_rules_that_block_far_more_than_a_domain(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    view = '[[view]]\nname = "kids"\nclients = ["192.0.2.1"]\ndeny = [".", "org"]\n'
    file.write_text(f'[block]\ndeny = [".", "com", "ads.example"]\n{view}')
    told = [one for one in run("check", "-c", str(file)).stderr.splitlines() if ".deny: " in one]
    words = ['block.deny: "." blocks every name', 'block.deny: "com" is', 'view[0].deny: "org" is']
    assert len(told) == len(words)
    assert all(f"warning: {word}" in line for word, line in zip(words, told, strict=True))


@pytest.mark.parametrize(
    ("access", "key"),
    [
        ("rate_dry_run = true", "rate_dry_run"),
        ('rate_limit = 5\nrate_exempt = ["lan"]', "rate_exempt"),
        ('rate_limit = 5\nrate_dry_run = true\nrate_exempt = ["127.0.0.0/8"]', None),
        ("rate_limit = 5", None),
    ],
)
def test_check_warns_of_limits_without_effect_or_for_this_machine(
    tmp_path: Path, access: str, key: str | None
) -> None:
    (tmp_path / "fastdns.toml").write_text(f"[access]\n{access}\n")
    told = run("check", "-c", str(tmp_path / "fastdns.toml")).stderr
    assert re.findall(r"warning: access\.(\w+): ", told) == ([key] if key else [])


def test_check_tells_of_clients_of_views_that_no_local_name_is_of(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.7 tablet\n")
    (tmp_path / "fastdns.toml").write_text(
        f'[local]\nhosts = ["{tmp_path}/hosts"]\n'
        '[[view]]\nname = "kids"\nclients = ["192.0.2.8", "tablet", "tabelt"]\n'
    )
    shown = run("check", "-c", str(tmp_path / "fastdns.toml")).stdout
    assert re.findall(r"# view\[(\d)\]\.clients: (\S+) is unknown", shown) == [("0", '"tabelt"')]


def test_check_warns_of_lists_that_block_nothing(tmp_path: Path) -> None:
    names = {"good": "ads.example\n", "closed": "ads.example\n", "empty": "# nothing\n"}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "state").mkdir()
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == os.geteuid() and one.name.startswith("pytest"):
            one.chmod(0o755)
    lists = ", ".join(f'"file:{tmp_path / name}"' for name in (*names, "missing"))
    file = tmp_path / "fastdns.toml"
    file.write_text(f"state_dir = '{tmp_path}/state'\n[block]\nlists = [{lists}]\n")
    assert run("lists", "update", "-c", str(file)).returncode == 1  # one is missing
    (tmp_path / "closed").chmod(0o600)
    told = run("check", "-c", str(file)).stderr
    assert f"warning: file:{tmp_path}/missing: cannot be read (No such file" in told
    assert f"warning: file:{tmp_path}/empty: has no entries" in told
    assert f"file:{tmp_path}/good" not in told
    closed = f"warning: file:{tmp_path}/closed: user "
    assert (closed in told) == (os.geteuid() == 0)  # else the daemon may be somebody else


def test_check_warns_of_settings_without_the_effect_that_one_expects(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text(
        'local.domain = "home.local"\n'
        'local.ask_upstream = ["example.com", "168.192.in-addr.arpa", "www.corp.example"]\n'
        'protect.rebind_allow = ["plex.direct"]\n'
        '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["192.0.2.1"]\n'
        '[[rule]]\nnames = ["*"]\naaaa = "never"\n[[rule]]\nnames = ["*.x.test"]\nmin_ttl = "1m"\n'
    )
    told = run("check", "-c", str(file)).stderr.splitlines()
    keys = ["local.domain", "local.ask_upstream", "protect.rebind_allow", f"{file}: rule[1]"]
    found = [line for line in told if any(f"warning: {key}: " in line for key in keys)]
    assert len(found) == 4
    assert '"home.local"' in found[0]
    assert '"example.com" is asked upstream anyway' in found[1]


def test_check_says_what_the_memory_is_by_default_on_a_small_machine() -> None:
    small_machine = (
        "import sys, fastdns.config.schema as schema\n"
        "schema.machine_memory = lambda: 497 << 20\n"
        "from fastdns.cli import main\n"
        "sys.argv = ['fastdns', 'check', '-c', '/dev/null']\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", small_machine]
    outcome = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert 'memory = "31MiB"\n' in outcome.stdout
    assert (
        "# cache.memory by default: a sixteenth of this machine's 497 MiB, at least 8MiB, "
        "at most 64MiB\n"
    ) in outcome.stdout


def test_check_warns_of_a_small_receive_buffer() -> None:
    granting_little = (
        "import sys, fastdns.cli.check as check\n"
        "check.granted_receive_buffer = lambda: 212992\n"
        "from fastdns.cli import main\n"
        "sys.argv = ['fastdns', 'check', '-c', '/dev/null']\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", granting_little]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert outcome.returncode == 0
    assert outcome.stderr == (
        "warning: the kernel grants a receive buffer of 208KiB where fastdns asks for 4MiB, so a "
        "burst of queries may be lost (try sysctl net.core.rmem_max=4194304)\n"
    )


def test_stats_prints_a_name_and_a_number_a_line_into_a_pipe(state: Path) -> None:
    outcome = run("stats", "--state", str(state))
    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert [name for name, _ in lines] == [
        *(name for name, *_ in COUNTERS),
        "disk_written_bytes_per_day",
        *CERTIFICATE,
        *LATENCIES,
        'upstream_alive{upstream="192.0.2.1:53"}',
        'upstream_rtt_seconds{upstream="192.0.2.1:53"}',
        'upstream_queries_total{upstream="192.0.2.1:53"}',
        'upstream_failures_total{upstream="192.0.2.1:53"}',
        'upstream_edns{upstream="192.0.2.1:53"}',
        'upstream_alive{upstream="tcp://\\u001b[2J"}',
        'upstream_rtt_seconds{upstream="tcp://\\u001b[2J"}',
        'upstream_queries_total{upstream="tcp://\\u001b[2J"}',
        'upstream_failures_total{upstream="tcp://\\u001b[2J"}',
        'upstream_edns{upstream="tcp://\\u001b[2J"}',
    ]
    assert ["cache_hits_total", "1234"] in lines
    values = dict(lines)
    assert all(float(value) >= 0 for name, value in lines if value != "NaN")
    assert values["latency_misses_count"] == "1"
    assert float(values["latency_misses_p50_seconds"]) == pytest.approx(0.25, rel=0.25)
    assert values["latency_hits_p99_seconds"] == "NaN"
    assert [value for _, value in lines[-10:]] == [
        *("1", "0.012500000", "50", "2", "1"),
        *("0", "NaN", "7", "7", "1"),
    ]


def test_stats_prints_one_json_object(state: Path) -> None:
    outcome = run("stats", "--state", str(state), "--json")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    counters = json.loads(outcome.stdout)
    assert counters.pop("pid") == os.getpid()
    assert counters.pop("start_time_seconds") == STARTED_AT
    assert counters["cache_hits_total"] == 1234
    assert counters.pop("outcomes") == []
    assert counters.pop("upstreams") == [
        {
            "name": "192.0.2.1:53",
            "alive": True,
            "rtt_seconds": 0.0125,
            "queries_total": 50,
            "failures_total": 2,
            "edns": True,
        },
        {
            "name": "tcp://\x1b[2J",
            "alive": False,
            "rtt_seconds": None,
            "queries_total": 7,
            "failures_total": 7,
            "edns": True,
        },
    ]
    assert counters["latency_misses_count"] == 1
    assert counters["latency_misses_p99_seconds"] == pytest.approx(0.25, rel=0.25)
    assert counters["latency_hits_p50_seconds"] is None
    names = [name for name, *_ in COUNTERS]
    assert list(counters) == [*names, "disk_written_bytes_per_day", *CERTIFICATE, *LATENCIES]
    assert {counters[name] for name in CERTIFICATE} == {None}


def test_stats_draws_groups_with_meanings_on_a_terminal(state: Path) -> None:
    drawn = PLAIN.sub("", run_on_terminal("stats", "--state", str(state), columns=80))
    head = " ".join(drawn.splitlines()[:3])  # it is longer than a line
    assert head.startswith("0 queries, 100 % from the cache, p50 2")
    assert " ms, 1 of 2 upstreams alive, 1 other warning since the start " in head
    assert head.endswith(f" ago (pid {os.getpid()})")
    assert re.search(r"1,234\W+queries answered from memory\W+cache_hits_total\b", drawn)
    assert re.search(r"misses\W+1\W+2\d\d ms\W+2\d\d ms\W+2\d\d ms", drawn)
    assert re.search(r"192\.0\.2\.1:53\W+alive\W+12 ms\W+50\W+2\W", drawn)
    assert re.search(r"tcp://\\u001b\[2J\W+dead\W+7\W+7\W", drawn)
    assert max(map(len, drawn.splitlines())) <= 80


def test_stats_shows_where_every_query_was_answered_from(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    for _ in range(3):
        ask(daemon, upstream.new_name())
    name = upstream.new_name()
    for _ in range(6):
        ask(daemon, name)
    ask(daemon, "localhost.")

    drawn = PLAIN.sub("", run_on_terminal("stats", "--state", str(daemon.state_dir)))

    assert drawn.startswith("10 queries, ")
    table = drawn[drawn.index("answered from") :].splitlines()[:4]
    assert [re.split("  +", line.strip()) for line in table] == [
        ["answered from", "queries", "share"],
        ["memory", "5", "50.0 %"],
        ["upstream", "4", "40.0 %"],
        ["fastdns itself", "1", "10.0 %"],
    ]


def test_stats_leaves_out_counters_that_are_zero_unless_told_otherwise(state: Path) -> None:
    assert "cache_evictions_total" not in run_on_terminal("stats", "--state", str(state))
    drawn = run_on_terminal("stats", "--all", "--state", str(state), columns=80)
    every = PLAIN.sub("", drawn)
    for name, _, meaning in COUNTERS:
        assert re.search(rf"{re.escape(meaning)} +{name}\b", every), name
    assert max(map(len, every.splitlines())) <= 80


def test_stats_tells_what_is_written_to_disk_a_day(state: Path) -> None:
    days = (time.time() - STARTED_AT) / 86400

    told = json.loads(run("stats", "--state", str(state), "--json").stdout)
    drawn = run_on_terminal("stats", "--state", str(state))

    assert told["disk_written_bytes_per_day"] == pytest.approx((1 << 40) / days, rel=0.01)
    assert re.search(r"[\d.,]+ [KMG]iB  per day at this rate \(disk_written_bytes_per_day\)", drawn)


def test_stats_does_not_guess_what_a_day_writes_right_after_a_start(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    state_dir = str(start_fastdns(upstream=["192.0.2.1"]).state_dir)

    told = json.loads(run("stats", "--state", state_dir, "--json").stdout)

    assert told["disk_written_bytes_per_day"] is None
    assert re.search("disk_written_bytes_per_day +NaN", run("stats", "--state", state_dir).stdout)


def test_stats_finds_the_daemon_through_its_configuration(state: Path, config_file: Path) -> None:
    assert "cache_hits_total" in run("stats", "-c", str(config_file)).stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_stats_without_a_daemon_is_one_line_with_status_1_and_creates_nothing(
    tmp_path: Path, arguments: Sequence[str]
) -> None:
    outcome = run("stats", "--state", str(tmp_path / "state"), *arguments)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        f"fastdns: no daemon runs with state_dir {tmp_path}/state "
        "(fastdns doctor names the daemons that run)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_stats_after_the_daemon_died_says_that_none_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Pages.create(str(tmp_path / "run" / "counters"), 2, time.time())
    (tmp_path / "lock").write_text("1\n")
    outcome = run("stats", "--state", str(tmp_path))
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"fastdns: no daemon runs with state_dir {tmp_path} ")


def test_stats_beside_the_counters_of_an_earlier_daemon_says_so(state: Path) -> None:
    (state / "lock").write_text("1\n")
    outcome = run("stats", "--state", str(state))
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"fastdns: {state}/run/counters does not belong to the running daemon (pid 1): "
        "it has just started, or its disk was full when it started\n"
    )


def test_stats_whose_counters_are_missing_or_foreign_is_one_line(state: Path) -> None:
    counters = state / "run" / "counters"
    counters.write_bytes(b"x" * 12288)
    outcome = run("stats", "--state", str(state))
    assert outcome.returncode == 1
    assert outcome.stderr == f"fastdns: {counters} is not a counters file of fastdns\n"
    counters.write_bytes(b"fastdns\0\2\0\0\0".ljust(12288, b"\0"))
    outcome = run("stats", "--state", str(state))
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"fastdns: {counters} was written by another version of fastdns: "
        "restart the daemon, or use the commands of its version\n"
    )
    counters.unlink()
    outcome = run("stats", "--state", str(state))
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"fastdns: cannot read the counters {counters}: No such file or directory\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_stats_of_root_reads_as_the_owner_of_state_dir() -> None:
    # Whoever owns state_dir may put a link there; root must not follow it to what is root's.
    with tempfile.TemporaryDirectory() as name, open(f"{name}/lock", "w") as lock:
        directory = Path(name)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (directory / "run").mkdir()
        counters = directory / "run" / "counters"
        Pages.create(str(counters), 2, STARTED_AT)
        os.chown(directory, 65534, 65534)
        assert run("stats", "--state", name).returncode == 0
        counters.chmod(0o600)
        outcome = run("stats", "--state", name)
    assert outcome.returncode == 1
    assert outcome.stderr == f"fastdns: cannot read the counters {counters}: Permission denied\n"


def test_stats_imports_nothing_once_root_has_been_given_up(state: Path) -> None:
    script = (
        "import sys\n"
        "from fastdns.cli import main, stats\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        raise SystemExit(f'imported late: {name}')\n"
        "stats.become_owner = lambda directory: sys.meta_path.insert(0, Refuse())\n"
        "sys.exit(main())\n"
    )
    program = [sys.executable, "-c", script]
    drawn = run_on_terminal("stats", "--state", str(state), program=program, columns=30)
    assert "…" in drawn  # where a character that is not usual is met


def test_stats_counts_what_a_daemon_does(start_fastdns: Callable[..., Fastdns]) -> None:
    daemon = start_fastdns(upstream=["192.0.2.1"])
    counters = json.loads(run("stats", "--state", str(daemon.state_dir), "--json").stdout)
    assert counters["pid"] == daemon.pid
    assert counters["queries_udp_total"] == 0
    assert [(one["name"], one["alive"]) for one in counters["upstreams"]] == [
        ("192.0.2.1:53", True)
    ]


def test_stats_tells_how_queries_ended(
    upstream: FalseUpstream, start_fastdns: Callable[..., Fastdns]
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    for tcp in (False, True):
        ask(daemon, name, tcp=tcp)
    stats = ("stats", "--state", str(daemon.state_dir))
    assert json.loads(run(*stats, "--json").stdout)["outcomes"] == [
        {"transport": "udp", "tier": "upstream", "rcode": "NOERROR", "queries_total": 1},
        {"transport": "tcp", "tier": "memory", "rcode": "NOERROR", "queries_total": 1},
    ]
    lines = dict(line.split() for line in run(*stats).stdout.splitlines())
    label = 'transport="udp",tier="upstream",rcode="NOERROR"'
    assert lines[f"outcome_queries_total{{{label}}}"] == "1"


def upstreams(daemon: Fastdns) -> dict[str, tuple[bool, float | None, int, int]]:
    """What `stats` tells of each upstream: alive, round trip, queries, failures."""
    shown = json.loads(run("stats", "--state", str(daemon.state_dir), "--json").stdout)["upstreams"]
    figures = ("alive", "rtt_seconds", "queries_total", "failures_total")
    return {one["name"]: tuple(one[figure] for figure in figures) for one in shown}


def test_counters_that_are_gone_are_told_with_the_remedy(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    (daemon.state_dir / "run" / "counters").unlink()
    done = run("stats", "--state", str(daemon.state_dir))
    assert done.stderr.endswith(
        f": No such file or directory; restart the daemon (pid {daemon.pid})\n"
    )


def test_stats_tells_how_each_upstream_is(start_fastdns: Callable[..., Fastdns]) -> None:
    def late(asked: Asked) -> None:
        time.sleep(0.05)
        answer_a(asked)

    with FalseUpstream(silence) as dead, FalseUpstream(late) as good:
        daemon = start_fastdns(upstream=[dead, good])
        for _ in range(4):
            ask(daemon, good.new_name())
        first, second = address_of(dead), address_of(good)
        seen = eventually(
            lambda: upstreams(daemon), lambda seen: not seen[first][0] and seen[second][2] >= 4
        )
    alive, rtt, queries, failures = seen[second]
    assert (alive, queries, failures) == (True, len(good.queries), 0)
    assert rtt == pytest.approx(0.06, abs=0.02)
    alive, rtt, queries, failures = seen[first]
    assert (alive, rtt) == (False, None)
    assert 2 <= failures <= queries <= len(dead.queries)


def test_stats_right_after_a_query_counts_it_at_its_upstream(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        for number in (1, 2, 3):
            ask(daemon, upstream.new_name())
            found = json.loads(run("stats", "--json", "--state", str(daemon.state_dir)).stdout)
            assert [one["queries_total"] for one in found["upstreams"]] == [number]


def test_every_metric_that_is_not_a_counter_is_documented(state: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    printed = run("stats", "--state", str(state)).stdout.splitlines()
    for line in printed:
        name = line.split()[0].partition("{")[0]
        if name not in [counter[0] for counter in COUNTERS]:
            family = next(
                one
                for one in ("latency_hits_", "latency_misses_", "upstream_", name)
                if name.startswith(one)
            )
            assert f"`{family}" in page or f"{family}…" in page, name
    assert "`outcome_queries_total{transport,tier,rcode}`" in page


def test_counts_of_upstreams_go_on_when_a_worker_is_replaced(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with FalseUpstream() as good:
        daemon = start_fastdns(upstream=[good])
        name = address_of(good)
        for _ in range(5):
            ask(daemon, good.new_name())
        eventually(lambda: upstreams(daemon)[name][2], lambda queries: queries == 5)
        os.kill(daemon.worker, signal.SIGKILL)
        daemon.wait_for_log("serves in its place")
        assert upstreams(daemon)[name][2] == 5
        ask(daemon, good.new_name())
        eventually(lambda: upstreams(daemon)[name][2], lambda queries: queries == 6)


def test_reader_that_leaves_early_sees_no_traceback(state: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*FASTDNS, "stats", "--state", str(state)]
    outcome = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    os.close(writer)
    assert outcome.stderr == ""


def test_interrupt_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    waiting_for_its_file = (
        "import signal, sys, fastdns.cli\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
        f"sys.argv = ['fastdns', 'stats', '-c', '{tmp_path}/pipe']\n"
        "sys.exit(fastdns.cli.main())\n"
    )
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", waiting_for_its_file]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (outcome.returncode, outcome.stderr.strip()) == (130, "")


@pytest.mark.parametrize("command", [["stats"], ["check", "-c", "/dev/null"]])
def test_full_disk_behind_standard_output_is_one_line(state: Path, command: Sequence[str]) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = subprocess.run(
            [*FASTDNS, *command, "--state", str(state)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert outcome.returncode == 1
    assert outcome.stderr == ("fastdns: cannot write to standard output: No space left on device\n")


def test_closed_standard_output_is_one_line(state: Path) -> None:
    script = f"exec {sys.executable} -m fastdns check -c /dev/null --state {state} >&-"
    outcome = subprocess.run(
        ["sh", "-c", script], stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr == "fastdns: standard output is closed\n"


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["stats", "--nonsense"], ["serve", "--workers", "many"]]
)
def test_bad_use_is_told_with_status_2(arguments: Sequence[str]) -> None:
    outcome = run(*arguments)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "Error: " in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["stats"], ["top"], ["demo"]])
def test_every_command_has_help(command: Sequence[str], option: str) -> None:
    outcome = run(*command, option)
    assert outcome.returncode == 0
    assert outcome.stdout.startswith("Usage: fastdns")


def test_version_is_printed() -> None:
    assert re.fullmatch(r"fastdns \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [("stats", "gevent"), ("top", "gevent"), ("serve", "rich"), ("check", "rich")],
)
def test_command_does_not_pay_for_libraries_of_another(command: str, unwanted: str) -> None:
    script = (
        "import sys, fastdns.cli\n"
        f"sys.argv = ['fastdns', '{command}', '--help']\n"
        "fastdns.cli.main()\n"
        f"sys.exit('{unwanted}' in sys.modules)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, check=False
    )
    assert outcome.returncode == 0
