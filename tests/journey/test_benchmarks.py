"""The benchmark's tools work; how fast anything is, no test says."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DAEMONS = os.environ.get("PATH", "") + ":/usr/sbin"
CACHED = ["--scenarios", "memory,hits,latency"]
LEISURELY = ["--queries", "20000", "--window", "64", "--seconds", "60", "--timeout-ms", "9000"]

needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
needs_nsd = pytest.mark.skipif(not shutil.which("nsd", path=DAEMONS), reason="no nsd")
needs_unbound = pytest.mark.skipif(not shutil.which("unbound", path=DAEMONS), reason="no unbound")


def run(script: str, *options: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def measured(written: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Return the only round of a run that went well, and what it printed."""
    short = ["--rounds", "1", "--seconds", "0.3", "--names", "50", "--rates", "2000"]
    result = run("run.py", *short, "--rate", "2000", *options, "--json", str(written))
    assert result.returncode == 0, result.stdout + result.stderr
    [one] = json.loads(written.read_text())["rounds"]
    return one, result.stdout


def compile_command(name: str, program: Path) -> list[str]:
    """Return how the benchmark compiles one of its tools."""
    show = "import sys, tools; print(*tools.compile_command(*sys.argv[1:]), sep='\\n')"
    command = [sys.executable, "-c", show, name, str(program)]
    return subprocess.check_output(command, cwd=BENCHMARKS, text=True).splitlines()


def build_load(directory: Path) -> str:
    program = directory / "load"
    subprocess.run(compile_command("load", program), check=True)
    return str(program)


@needs_cc
@pytest.mark.parametrize("name", ["load", "load_stream", "floor", "bad_upstream"])
def test_tools_compile_without_a_warning(name: str, tmp_path: Path) -> None:
    command = [*compile_command(name, tmp_path / name), "-Werror"]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")


@needs_cc
def test_names_are_asked_as_zipf_has_it_and_fresh_ones_once(tmp_path: Path) -> None:
    asked: Counter[int] = Counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        options = ["--zipf", "1", "--fresh", "10", "--names", "100", "--digits", "5"]
        command = [build_load(tmp_path), "--server", f"127.0.0.1:{server.getsockname()[1]}"]
        with subprocess.Popen([*command, *options, *LEISURELY], stdout=subprocess.PIPE) as load:
            for _ in range(20_000):
                message, client = server.recvfrom(512)
                asked[int(message[14:19])] += 1  # behind header, length and "h"
                server.sendto(message[:2] + b"\x80" + message[3:7] + b"\1" + message[8:], client)
            output, _ = load.communicate(timeout=10)

    assert json.loads(output)["answered"] == 20_000
    old = {name: count for name, count in asked.items() if name < 100}
    harmonic = sum(1 / rank for rank in range(1, 101))
    for rank in (1, 2, 10):
        share = old[rank - 1] / sum(old.values())
        assert share == pytest.approx(1 / rank / harmonic, rel=0.2)
    fresh = [count for name, count in asked.items() if name >= 100]
    assert set(fresh) == {1}
    assert len(fresh) == pytest.approx(2000, rel=0.1)


@needs_cc
@needs_nsd
def test_a_short_run_prints_its_table_and_writes_its_figures(tmp_path: Path) -> None:
    options = ["--only", "floor,baseline", *CACHED]

    one, printed = measured(tmp_path / "result.json", *options)

    assert "hits: CPU a query, over the floor's" in printed
    assert set(one) == {"floor", "baseline"}
    for server in one.values():
        assert server["warm"]["rcodes"]["0"] == 50
        assert server["hits"]["answered"] > 0
        assert server["memory"]["pss"] > 0


@needs_cc
@needs_nsd
@needs_unbound
def test_a_short_run_measures_misses_and_connections_of_a_peer(tmp_path: Path) -> None:
    options = ["--only", "fastdns,unbound", "--scenarios", "hits,tcp,miss"]

    one, _ = measured(tmp_path / "result.json", *options)

    for server in one.values():
        for way in ("8x1", "64x1", "8x16"):
            assert server["tcp"][way]["rcodes"] == {"0": server["tcp"][way]["answered"]}
        assert server["tcp"]["miss 8x16"]["upstream_us"] > 0
        assert server["miss"]["answered"] > 0
    assert one["fastdns"]["miss"]["disk_writes_total"] > 0
    assert one["fastdns"]["miss"]["workers_us"] > 0


@needs_cc
@needs_nsd
@needs_unbound
def test_a_short_run_measures_a_peer_over_tls_and_https(tmp_path: Path) -> None:
    options = ["--only", "unbound", "--scenarios", "dot,doh,handshake", "--idle", "20"]

    one, printed = measured(tmp_path / "result.json", *options)

    unbound = one["unbound"]
    for over in ("dot", "doh"):
        for way in ("8x1", "64x1", "8x16", "miss 8x1", "miss 8x16"):
            assert unbound[over][way]["cpu_us"] > 0
    assert unbound["dot"]["idle"]["ended"] == 0
    for version in ("1.3", "1.2"):
        assert unbound["handshake"][f"{version} full"]["resumed"] == 0
        resumed = unbound["handshake"][f"{version} resumed"]
        assert resumed["resumed"] == resumed["handshakes"] - 1  # the first brings the ticket
    assert unbound["handshake"]["slow"]["storm"]["connections"] >= 200
    assert unbound["handshake"]["handshakes"]["storm"]["handshakes"] > 0
    assert unbound["handshake"]["resets"]["storm"]["sent"] > 0
    for row in ("TLS 1.3 resumed, CPU, µs", "idle DoT connections, MiB"):
        assert row in printed


@needs_cc
@needs_nsd
def test_a_tenth_of_the_mixed_load_is_new_to_the_cache(tmp_path: Path) -> None:
    options = ["--only", "fastdns", "--scenarios", "mixed", "--quick"]

    one, _ = measured(tmp_path / "result.json", *options)

    mixed = one["fastdns"]["mixed"]
    assert mixed["answered"] > 0
    # Each new answer is one that the keeper writes or spares; the others it has from the warming.
    chosen = mixed["disk_writes_total"] + mixed["disk_spared_total"]
    assert chosen == pytest.approx(mixed["answered"] / 10, rel=0.1)


@needs_cc
@needs_nsd
def test_a_short_run_measures_the_disk_cache(tmp_path: Path) -> None:
    options = ["--only", "fastdns", "--scenarios", "start,disk_hits,keeper,browse"]

    one, printed = measured(tmp_path / "result.json", *options, "--entries", "3000")

    assert "start, few, ms" in printed
    fastdns = one["fastdns"]
    assert fastdns["start"]["many_ms"] > 0
    assert fastdns["disk_hits"]["first"]["answered"] == 3000
    assert fastdns["keeper"]["new"]["written"] > 0
    assert fastdns["browse"]["last_page_after"] > 0


@needs_cc
@needs_nsd
def test_a_second_worker_is_measured_beside_the_first(tmp_path: Path) -> None:
    one, printed = measured(tmp_path / "result.json", "--only", "fastdns", "--scenarios", "workers")

    workers = one["fastdns"]["workers"]
    assert workers["two"]["qps"] > 0
    assert workers["further_pss"] > 0
    assert 1 <= workers["allowed"] <= 2
    assert "times that this machine allows" in printed


@needs_cc
@needs_nsd
def test_hits_are_measured_under_few_rules_and_under_many(tmp_path: Path) -> None:
    one, printed = measured(tmp_path / "result.json", "--only", "fastdns", "--scenarios", "access")

    rules = one["fastdns"]["access"]
    assert all(rules[name]["cpu_us"] > 0 for name in ("everybody", "default", "prefixes"))
    assert "under ten thousand prefixes" in printed


@needs_cc
@needs_nsd
def test_what_cannot_be_measured_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    options = ["--only", "floor,baseline", *CACHED, "--rounds", "1", "--seconds", "0.3"]
    breaks = (
        "import dataclasses, sys; sys.argv[1:] = sys.argv[2:]; import peers;"
        " peers.PEERS = tuple(dataclasses.replace(peer, command=lambda *_: ['/bin/false'])"
        " if peer.name == 'baseline' else peer for peer in peers.PEERS);"
        " import run; run.main()"
    )

    result = subprocess.run(
        [sys.executable, "-c", breaks, "run.py", *options, "--json", str(written)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert result.returncode == 1, result.stderr
    assert "failed: round 1, baseline: baseline ended with status 1" in result.stdout
    assert json.loads(written.read_text())["rounds"][0]["floor"]["hits"]["answered"] > 0


@needs_cc
@needs_nsd
def test_a_killed_worker_under_load_is_counted(tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    options = [
        "--only",
        "kill",
        "--times",
        "1",
        "--workers",
        "1",
        "--rate",
        "1000",
        "--names",
        "50",
    ]

    result = run("restart_under_load.py", *options, "--json", str(written))

    assert result.returncode in {0, 1}, result.stderr  # 1: a bar was missed, maybe
    [one] = json.loads(written.read_text())["trials"]["kill"]
    assert one["queries"] == 3000
    assert "of these queries" in result.stdout


def test_a_simulated_day_writes_less_with_a_longer_commit_interval(tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    day = ["--queries", "300", "--names", "30", "--intervals", "10m,1h"]

    result = run("flash.py", "--plain", *day, "--json", str(written))

    assert result.returncode == 0, result.stderr
    short, long, memory = json.loads(written.read_text())["cases"]
    assert [case["queries"] for case in (short, long, memory)] == [300] * 3
    assert 0 < long["disk_commits_total"] <= 25 < short["disk_commits_total"] <= 145
    assert 0 < long["disk_written_bytes_total"] < short["disk_written_bytes_total"]
    assert '| `commit_interval = "1h"` |' in result.stdout


@pytest.mark.parametrize(
    ("option", "word"), [("--only", "florr"), ("--scenarios", "mis"), ("--rates", "2k")]
)
def test_an_unknown_peer_scenario_or_rate_is_named(option: str, word: str) -> None:
    result = run("run.py", option, word)

    assert result.returncode == 2
    assert option in result.stderr
    assert word in result.stderr
