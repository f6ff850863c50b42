"""`fastdns doctor`: finds what keeps fastdns from serving this machine, and fixes it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..doctor import resolver
from ..doctor.examine import Examined, admit, examine
from ..doctor.findings import Finding, Remedy
from ..doctor.record import RECORD, Record, only_one
from ..doctor.undo import undo
from ..errors import FastdnsError
from . import options
from .output import emit, fail
from .wrapping import wrapped

COLOURS = {"ok": "green", "hint": "yellow", "wrong": "red"}
INDENT = 7  # columns of a state and what follows it
ROUNDS = 3  # of repairs: one may reveal what the next one is for


@click.command()
@options.config_file
@options.state
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--fix", is_flag=True, help="Fix what can be fixed, and ask before each step.")
@click.option(
    "--resolver", "point", is_flag=True, help="With --fix: make fastdns this machine's resolver."
)
@click.option("--undo", "back", is_flag=True, help="Undo everything that --fix has changed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def doctor(
    path: Path | None,
    state: str | None,
    *,
    as_json: bool,
    fix: bool,
    point: bool,
    back: bool,
    yes: bool,
) -> int:
    """Find what keeps fastdns from serving this machine, and say what to do.

    Changes nothing without --fix or --undo. Exit status 1: something needs to be done.
    """
    _check_use(as_json=as_json, fix=fix, point=point, back=back, yes=yes)
    if not (fix or back):
        return _tell(list(examine(admit(path, state))), as_json=as_json)
    if os.geteuid() != 0:
        raise FastdnsError(f"only root can do that: sudo fastdns doctor {_flag(fix=fix)}")
    for number in (signal.SIGHUP, signal.SIGTERM):  # like Ctrl-C: no repair is left half done
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    with only_one() as record:
        if back:
            return _undo(record, admit(path, state), yes=yes)
        _repair(record, path, state, yes=yes)
        pointed = _point(record, admit(path, state), wanted=point, yes=yes)
    status = _tell(list(examine(admit(path, state))), as_json=False)
    return status if pointed else 1


def _check_use(*, as_json: bool, fix: bool, point: bool, back: bool, yes: bool) -> None:
    if fix and back:
        raise click.UsageError("--fix and --undo are opposites: use one of them")
    if as_json and (fix or back):
        raise click.UsageError("--json does not go with --fix or --undo")
    if point and not fix:
        raise click.UsageError("--resolver goes with --fix")
    if yes and not (fix or back):
        raise click.UsageError("--yes goes with --fix or --undo")
    if (fix or back) and not yes and not _may_ask():
        raise click.UsageError(f"there is no terminal to ask on: use {_flag(fix=fix)} --yes")


def _flag(*, fix: bool) -> str:
    return "--fix" if fix else "--undo"


def _may_ask() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _tell(findings: Sequence[Finding], *, as_json: bool) -> int:
    is_well = all(finding.state != "wrong" for finding in findings)
    if as_json:
        told = [
            {
                "about": one.about,
                "state": one.state,
                "text": one.text,
                "do": one.do or None,
                "fixable": one.remedy is not None,
            }
            for one in findings
        ]
        emit(json.dumps({"ok": is_well, "findings": told}) + "\n")
    else:
        emit("".join(_spell(one) for one in findings))
        if any(one.remedy is not None for one in findings):
            note = "`fastdns doctor --fix`, run as root, fixes what it can and asks first"
            emit(f"{wrapped(note, 0)}\n")
    return 0 if is_well else 1


def _spell(finding: Finding) -> str:
    word = click.style(f"{finding.state:<{INDENT}}", fg=COLOURS[finding.state])
    text = wrapped(f"{finding.about}: {finding.text}", INDENT)
    do = f"{'':{INDENT}}  do: {wrapped(finding.do, INDENT + 6)}\n" if finding.do else ""
    return f"{word}{text}\n{do}"


# Repairs


def _repair(record: Record, path: Path | None, state: str | None, *, yes: bool) -> None:
    """Apply remedies until all were tried."""
    tried: set[str] = set()
    for _ in range(ROUNDS):
        found = [one for one in examine(admit(path, state)) if one.remedy is not None]
        new = [one for one in found if one.remedy is not None and one.remedy.asks not in tried]
        if not new:
            return
        for finding in new:
            assert finding.remedy is not None
            tried.add(finding.remedy.asks)
            emit(_spell(finding))
            _apply(record, finding.remedy, yes=yes)


def _apply(record: Record, remedy: Remedy, *, yes: bool) -> bool:
    if not _agreed(remedy.asks, yes=yes):
        return False
    try:
        emit(f"done: {remedy.apply(record)}\n")
    except FastdnsError as error:
        fail(str(error))
        return False
    return True


def _agreed(what: str, *, yes: bool) -> bool:
    if yes:
        emit(f"{what}\n")
        return True
    return click.confirm(f"{what}?", err=True)


def _point(record: Record, patient: Examined, *, wanted: bool, yes: bool) -> bool:
    """Point this machine's resolver at fastdns, if asked to; return whether all went well.

    --fix --yes alone does not ask for it.
    """
    config = patient.judged
    if config is None or resolver.is_pointed(config):
        return True
    if not wanted and (yes or patient.daemon is None):
        return True
    try:
        remedy = resolver.pointing(config)
    except FastdnsError as error:
        if wanted:
            fail(str(error))
        return not wanted
    return _apply(record, remedy, yes=yes) or not wanted


def _undo(record: Record, patient: Examined, *, yes: bool) -> int:
    if not record.changes:
        emit(f"there is nothing to undo: {RECORD} does not exist\n")
        return 0
    named = ", ".join(dict.fromkeys(map(str, reversed(record.changes))))
    if not _agreed(f"undo these changes: {named}", yes=yes):
        return fail("nothing was undone")
    return 0 if undo(record, patient.daemon, lambda line: emit(f"{line}\n")) else 1
