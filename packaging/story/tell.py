"""A story told as it happens: one line for each step, with the time it took and its figures."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

LINES_OF_OUTPUT = 60


class Wrong(Exception):
    """Something is not as it has to be; `output` is what helps to see why."""

    def __init__(self, what: str, output: str = "") -> None:
        super().__init__(what)
        self.output = output


class Step:
    """What a step has to tell beside its title."""

    def __init__(self) -> None:
        self.figures: list[str] = []
        self.missed: list[str] = []

    def tell(self, figure: str) -> None:
        self.figures.append(figure)

    def bar(self, holds: bool, words: str, details: str = "") -> None:
        """Hold a figure to a bar: the story goes on when it is missed, but does not end well."""
        if not holds:
            self.missed.append(details)
            self.tell(f"BAR MISSED: {words}")


class Story:
    """Prints the steps; of the one that goes wrong, what is known of it, and no further one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps = self._missed = 0
        self.evidence: Callable[[], str] = str  # more to print when a step goes wrong

    def heading(self, words: str) -> None:
        print(f"\n{words}", flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        began = time.monotonic()
        step = Step()
        try:
            yield step
        except (Wrong, subprocess.TimeoutExpired, OSError) as error:
            self._line("✗", began, f"{title}: {error}")
            quote(getattr(error, "output", None))
            quote(self.evidence())
            raise SystemExit(1) from None
        self._steps += 1
        self._missed += len(step.missed)
        mark = "✗" if step.missed else "✓"
        self._line(mark, began, ": ".join(filter(None, (title, ", ".join(step.figures)))))
        for details in step.missed:
            quote(details)

    def end(self) -> None:
        took = f"{self._steps} steps in {time.monotonic() - self._began:.0f} s"
        if self._missed:
            print(f"\n{took}, but {self._missed} bars missed.", flush=True)
            raise SystemExit(1)
        print(f"\nAll is well: {took}.", flush=True)

    def _line(self, mark: str, began: float, words: str) -> None:
        first, *more = words.splitlines()
        print(f"  {mark} {time.monotonic() - began:5.1f} s  {first}", flush=True)
        for line in more:
            print(f"             {line}", flush=True)


def quote(output: str | bytes | None) -> None:
    if isinstance(output, bytes):
        output = output.decode(errors="replace")
    lines = (output or "").rstrip().splitlines()
    left_out = len(lines) - LINES_OF_OUTPUT
    if left_out > 0:
        lines = [f"({left_out} lines before these)", *lines[left_out:]]
    if lines:
        print(textwrap.indent("\n".join(lines), "      | "), flush=True)


def run(
    command: Sequence[str],
    *,
    status: int | None = 0,
    patience: float = 300,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Return what a command printed; raise when its exit status is another (None: any will do)."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=patience,
        env=environment,
    )
    if status is not None and done.returncode != status:
        words = f"`{' '.join(command[-6:])}` ends with status {done.returncode}, not {status}"
        raise Wrong(words, done.stdout + done.stderr)
    return done


def until(
    found: Callable[[], object], what: str, patience: float = 20.0, every: float = 0.02
) -> None:
    """Return as soon as `found` says something true; raise that `what` did not come."""
    deadline = time.monotonic() + patience
    while not found():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {patience:g} s")
        time.sleep(every)


def must(holds: object, what: str, output: str = "") -> None:
    if not holds:
        raise Wrong(what, output)


def mebibytes(octets: float) -> str:
    return f"{octets / 2**20:.1f} MiB"


def leave(*_: object) -> None:
    """A signal ends the story as an error does: everything that it started is ended."""
    print(file=sys.stderr)
    raise SystemExit(130)
