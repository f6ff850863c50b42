"""The C programs beside this file: compiled when a source is newer; the two loads called."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from processes import BenchmarkError, pinned

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
COMPILE = ["cc", "-O2", "-Wall", "-Wextra"]
LOAD = ("measure.c", "questions.c")
LIBRARIES = {"load_stream": ("-lssl", "-lcrypto", "-lnghttp2")}
SOURCES = {
    "bad_upstream": ("bad_upstream.c", *LOAD),
    "floor": ("floor.c",),
    "load": ("load.c", *LOAD),
    "load_stream": ("load_stream.c", "stream_options.c", "channel.c", "http2_client.c", *LOAD),
}


def compile_command(name: str, program: Path) -> list[str]:
    sources = (str(HERE / source) for source in SOURCES[name])
    return [*COMPILE, "-o", str(program), *sources, *LIBRARIES.get(name, ()), "-lm"]


def build(name: str) -> Path:
    """Return the compiled program, after compiling it if a source or header is newer."""
    program = BUILD / name
    sources = [*(HERE / source for source in SOURCES[name]), *HERE.glob("*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    if program.exists() and program.stat().st_mtime > newest:
        return program
    if not shutil.which(COMPILE[0]):
        raise BenchmarkError("no C compiler: install gcc (apt install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        compile_command(name, program), capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise BenchmarkError(f"{name} does not compile:\n{made.stderr}")
    return program


def start_load(
    port: int, core: int | str, seconds: float, *more: str, program: str = "load", nice: int = 0
) -> subprocess.Popen[str]:
    """Start load.c (or load_stream.c) on `core` against the server on `port`."""
    server = ["--server", f"127.0.0.1:{port}", "--seconds", f"{seconds:g}"]
    command = pinned(core, ["nice", "-n", str(nice), str(build(program)), *server, *more])
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_open(running: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what load_stream.c prints when its connections are open; `finish_load` goes on."""
    assert running.stdout
    line = running.stdout.readline()
    if not line:
        raise BenchmarkError(f"{shlex.join(running.args)}: {running.communicate()[1].strip()}")
    return json.loads(line)


def finish_load(running: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """Return what it prints; its own end is `seconds` and its time-outs away at most."""
    try:
        output, errors = running.communicate("\n", timeout=seconds + 90)
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    if not output:
        raise BenchmarkError(f"{shlex.join(running.args)}: {errors.strip()}")
    return json.loads(output)


def load(
    port: int, core: int | str, seconds: float, *more: str, program: str = "load"
) -> dict[str, Any]:
    """Run it to its end; return what it prints."""
    return finish_load(start_load(port, core, seconds, *more, program=program), seconds)
