"""After kill -9 of the whole tree: the cache has all answers that clients had, and no wrong one."""

import json
import subprocess
import sys
from pathlib import Path

CRASH = Path(__file__).resolve().parents[2] / "benchmarks" / "crash.py"


def test_nothing_is_gone_or_wrong_after_kills_at_random_moments_under_load() -> None:
    """Five of the two hundred times that `benchmarks/crash.py` is there for."""
    result = subprocess.run(
        [sys.executable, str(CRASH), "--times", "5", "--seconds", "5", "--seed", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["kills"] == 5
    assert found["asked_after_starts"] > 100
    assert found["entries"] >= found["promised"] > 100
