"""Completions for the shells: click's own scripts, which ask the command for candidates."""

import re

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
# zsh loads the file as a function when it first completes the word. What click ends it with does
# nothing that first time (8.1) or the second time (8.2): only later is what it declares called.
ZSH_END = re.compile(r"^(?:if \[\[ \$zsh_eval_context|compdef )(?:.|\n)*\Z", re.M)
ZSH_LOADED = """\
compdef _fastdns_completion fastdns
[[ $zsh_eval_context[-1] != loadautofunc ]] || _fastdns_completion "$@"
"""


def script(group: click.Group, shell: str) -> str:
    """Return the script that a shell reads."""
    kind = get_completion_class(shell)
    assert kind is not None
    # Not kind.source, which starts a bash to warn of an old one.
    text = ShellComplete.source(kind(group, {}, "fastdns", "_FASTDNS_COMPLETE"))
    if shell == "zsh":
        text = ZSH_END.sub(lambda _: ZSH_LOADED, text)
    return text.strip() + "\n"
