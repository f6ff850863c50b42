"""The lists and files that names come from: what of them cannot be used?"""

from __future__ import annotations

from collections.abc import Iterator

from ..config.schema import Config
from ..policy.compile import compile_domains
from ..policy.local import LocalSources
from .commands import Commands
from .findings import Finding, hint

ABOUT = "names"
TOLD_MAX = 5


def look(config: Config, commands: Commands) -> Iterator[Finding]:
    """Name what is wrong with lists and local files: the daemon does without these parts."""
    problems = [*compile_domains(config).problems, *LocalSources(config.local).problems]
    told, others = problems[:TOLD_MAX], len(problems) - TOLD_MAX
    if others > 0:
        told.append(f"{others:,} more problems of lists and local files")
    for number, one in enumerate(told, start=1):
        do = f"{commands.line('check')} names all; mend the files, then {commands.line('reload')}"
        yield hint(ABOUT, one, do if number == len(told) else "")
