"""Man pages: the text of man/*.in, with commands, options and keys inserted."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from settings import EXAMPLES, MANY, Setting, sentence, settings

from fastdns.config.meanings import TABLES

SOURCES = Path(__file__).parent / "man"
# What stands in a text as it is typed: `…`, an option, a word in capitals that an option names.
MARKED = re.compile(r"`([^`]+)`|(?<![\w-])(--?[a-z][a-z-]*)|(?<![\w.])([A-Z]{4,})(?![\w.])")


def escape(text: str) -> str:
    """Return text that roff prints as it stands, hyphens as the minus signs that are typed."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\[aq]")
    return "".join(c if c < "\x7f" else f"\\[u{ord(c):04X}]" for c in text)


def prose(text: str, italic: frozenset[str] = frozenset()) -> str:
    """Return a paragraph in one line, what is typed in it bold, what stands for a value italic."""
    parts, at = [], 0
    text = " ".join(text.split())
    for match in MARKED.finditer(text):
        typed = match[1] or match[2]
        if match[3] and match[3] not in italic:
            continue
        parts.append(_running(text[at : match.start()]))
        parts.append(f"\\fB{escape(typed)}\\fR" if typed else f"\\fI{match[3]}\\fR")
        at = match.end()
    line = "".join(parts) + _running(text[at:])
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _running(text: str) -> str:
    return escape(text).replace("\\-", "-")


# ---- commands


def commands(group: click.Group, words: str) -> Iterator[str]:
    """Yield each command of a group with its options; of one that is a group, where it is told."""
    context = click.Context(group, info_name=words)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=f"{words} {name}")
        yield f".SS {name}"
        yield usage(command, below)
        yield from _description(command, below)
        if isinstance(command, click.Group):
            yield f".PP\nSee\n.BR {escape(words)}\\-{name} (1)."
        yield from options(command, below)


def usage(command: click.Command, context: click.Context) -> str:
    """Return the line that shows how it is called."""
    words = [f"\\fB{escape(str(context.info_name))}\\fR"]
    if isinstance(command, click.Group):
        words.append("\\fICOMMAND\\fR ...")
    for names, value, option in _options(command, context):
        shown = f"\\fB{escape(names[0])}\\fR" + (f" \\fI{escape(value)}\\fR" if value else "")
        words.append(f"[{shown}]" + ("..." if option.multiple else ""))
    for piece in command.collect_usage_pieces(context):
        if piece not in ("[OPTIONS]", "COMMAND [ARGS]..."):
            word = f"\\fI{piece.strip('[]')}\\fR"
            words.append(f"[{word}]" if piece.startswith("[") else word)
    return f".PP\n.nh\n{' '.join(words)}\n.hy"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a tagged paragraph for each option."""
    for names, value, option in _options(command, context):
        tag = ", ".join(f"\\fB{escape(name)}\\fR" for name in names)
        record = option.get_help_record(context)
        assert record is not None
        yield f".TP\n{tag}" + (f" \\fI{escape(value)}\\fR" if value else "")
        yield prose(record[1])


def _options(
    command: click.Command, context: click.Context
) -> Iterator[tuple[list[str], str, click.Option]]:
    """Yield names, what stands for the value, the option; --help is told once for all."""
    for option in command.get_params(context):
        if not isinstance(option, click.Option) or "--help" in option.opts:
            continue
        record = option.get_help_record(context)
        if record is not None:
            *first, last = record[0].split(", ")
            name, _, value = last.partition(" ")
            yield [*first, name], value, option


def _description(command: click.Command, context: click.Context) -> Iterator[str]:
    pieces = command.collect_usage_pieces(context)
    values = {value for _, value, _ in _options(command, context)}
    italic = frozenset(values | {piece.strip("[]") for piece in pieces})
    if not command.help:
        raise SystemExit(
            f"{context.info_name} has no description yet: give its function a docstring"
        )
    for paragraph in re.split(r"\n\s*\n", command.help.strip()):
        yield f".PP\n{prose(paragraph, italic)}"


# ---- keys


def keys() -> Iterator[str]:
    """Yield each table of the configuration with its keys."""
    table = None
    for setting in settings():
        if setting.table != table:
            table = setting.table
            heading = f"[[{table}]]" if table in MANY else f"[{table}]"
            yield f".SS {heading}\n{prose(TABLES[table])}" if table else ".SS Outside of a table"
        yield from _key(setting)


def _key(setting: Setting) -> Iterator[str]:
    yield f".TP\n\\fB{escape(setting.name)}\\fR = {escape(setting.default)}"
    yield prose(sentence(setting.meaning))
    if example := EXAMPLES.get(setting.path):
        value, _, why = example.partition("#")
        yield f".sp\n{prose(sentence(why.strip()).rstrip('.'))}: \\fB{escape(value.strip())}\\fR"


# ---- pages


def page(name: str, group: click.Group, version: str, date: str) -> str:
    """Return a man page: man/NAME.in with its marks replaced."""
    context = click.Context(group, info_name="fastdns")
    cache, lists = (group.get_command(context, word) for word in ("cache", "lists"))
    assert isinstance(cache, click.Group)
    assert isinstance(lists, click.Group)
    blocks = {
        "COMMANDS": lambda: "\n".join(commands(group, "fastdns")),
        "CACHE_COMMANDS": lambda: "\n".join(commands(cache, "fastdns cache")),
        "LISTS_COMMANDS": lambda: "\n".join(commands(lists, "fastdns lists")),
        "KEYS": lambda: "\n".join(keys()),
        "VERSION": lambda: version,
        "DATE": lambda: date,
    }
    text = (SOURCES / f"{name}.in").read_text(encoding="ascii")
    return re.sub(r"@([A-Z_]+)@", lambda mark: blocks[mark[1]](), text)
