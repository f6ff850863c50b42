"""The two C programs beside this file: compiled when their source is newer; load.c called."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from processes import BenchmarkError, pinned

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
COMPILE = ["cc", "-O2", "-Wall", "-Wextra"]


def build(name: str) -> Path:
    """Return the compiled program, compiled anew when it is older than its source."""
    source, program = HERE / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    if not shutil.which(COMPILE[0]):
        raise BenchmarkError("no C compiler: install gcc (apt install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        [*COMPILE, "-o", program, source], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise BenchmarkError(f"{source} does not compile:\n{made.stderr}")
    return program


def load(port: int, core: int, seconds: float, *more: str) -> dict[str, Any]:
    """Run load.c on `core` against the server on `port`; return what it prints."""
    server = ["--server", f"127.0.0.1:{port}", "--seconds", f"{seconds:g}"]
    command = pinned(core, [str(build("load")), *server, *more])
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    if not result.stdout:
        raise BenchmarkError(f"{' '.join(command)}: {result.stderr.strip()}")
    return json.loads(result.stdout)
