"""Draw docs/top.svg: `fastdns top` of a real daemon, under a load like that of a small office.

The names are made up; what is measured is what happened on this machine.
"""

import argparse
import io
import os
import re
import tempfile
import threading
import time
from pathlib import Path

import tools
from peers import own_command
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from trials import Bench, Subject

from fastdns.cli.top import Watch
from fastdns.cli.top_screen import layout
from fastdns.config.places import Places

COLUMNS, ROWS = 88, 36
SECONDS, INTERVAL = 30.0, 0.5
HOSTS = ("www", "mail", "cdn", "api", "img", "static", "login", "time")
SITES = ("example.com", "example.net", "example.org", "shop.example", "news.example", "wiki.demo")


def names() -> list[str]:
    """Return names, those that are asked for most first and most often."""
    every = [f"{host}.{site}" for site in SITES for host in HOSTS]
    return [name for rank, name in enumerate(every) for _ in range(1 + 60 // (rank + 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "docs" / "top.svg"
    parser.add_argument("file", nargs="?", type=Path, default=default)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        bench = Bench(
            Subject("fastdns", tuple(own_command())),
            argparse.Namespace(seconds=SECONDS),
            Path(name),
            server_core=0,
            load_core=1,
        )
        asked = Path(name) / "names"
        asked.write_text("".join(f"{one}\n" for one in names()))
        with bench.upstream() as upstream, bench.serve(upstream) as serving:
            port, watch = serving.server.port, Watch(Places(serving.state, serving.state / "run"))
            loads = [
                tools.start_load(port, 1, SECONDS, *options)
                for options in (
                    ("--file", str(asked), "--rate", "180"),
                    (*serving.new_names("new.example"), "--rate", "20"),
                )
            ]
            ended = threading.Event()
            shown = watch.look()
            until = time.monotonic() + SECONDS - 1
            while time.monotonic() < until:
                ended.wait(INTERVAL)
                shown = watch.look()
            for load in loads:
                tools.finish_load(load, SECONDS)
    console = Console(record=True, width=COLUMNS, height=ROWS, file=io.StringIO())
    console.print(layout(shown, COLUMNS, ROWS))
    # A picture asks no other server for its letters.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", "monospace")
    chosen.file.write_text(console.export_svg(title="fastdns top", code_format=form))


if __name__ == "__main__":
    main()
