"""The benchmark's tools work; how fast anything is, no test says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DAEMONS = os.environ.get("PATH", "") + ":/usr/sbin"

needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
needs_nsd = pytest.mark.skipif(not shutil.which("nsd", path=DAEMONS), reason="no nsd")


@needs_cc
@pytest.mark.parametrize("name", ["load", "load_tcp", "floor"])
def test_tools_compile_without_a_warning(name: str, tmp_path: Path) -> None:
    show = f"import shlex, tools; print(shlex.join(tools.compile_command('{name}', {str(tmp_path / name)!r})))"
    ask = [sys.executable, "-c", show]
    command = subprocess.check_output(ask, cwd=BENCHMARKS, text=True)

    result = subprocess.run(
        [*shlex.split(command), "-Werror"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


@needs_cc
@needs_nsd
def test_a_short_run_prints_its_table_and_writes_its_figures(tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    options = ["--only", "floor,baseline", "--rounds", "1", "--seconds", "0.3", "--names", "50"]

    result = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *options, "--json", str(written)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert result.returncode == 0, result.stderr
    assert "hits: CPU a query at most 1.3 times the floor's" in result.stdout
    [measured] = json.loads(written.read_text())["rounds"]
    assert set(measured) == {"floor", "baseline"}
    for server in measured.values():
        assert server["warm"]["rcodes"]["0"] == 50
        assert server["hits"]["answered"] > 0
        assert server["memory"]["pss"] > 0


@needs_cc
@needs_nsd
def test_a_short_run_measures_the_disk_cache(tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    options = ["--only", "fastdns", "--rounds", "1", "--seconds", "0.3", "--names", "50"]
    options += ["--entries", "3000", "--rate", "2000", "--json", str(written)]

    result = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert result.returncode == 0, result.stderr
    assert "start, few, ms" in result.stdout
    [measured] = json.loads(written.read_text())["rounds"]
    fastdns = measured["fastdns"]
    assert fastdns["start"]["many_ms"] > 0
    assert fastdns["disk_hits"]["first"]["answered"] == 3000
    assert fastdns["keeper"]["new"]["written"] > 0
    assert fastdns["browse"]["last_page_after"] > 0


@needs_cc
@needs_nsd
def test_an_unknown_peer_is_named(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--only", "florr"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "florr" in result.stderr
