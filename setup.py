"""The extensions and how they are compiled; all else about the package is in pyproject.toml."""

import os
import re
import signal
import sys
import warnings
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

MODULES = [
    "_buffer",
    "_ticket_keys",
    "_tls",
    "_doh",
    "_http2",
    "_certificate",
    "_key",
    "_wire",
    "_rewrite",
    "_scrub",
    "_hints",
    "_siphash",
    "_domains",
    "_domain_sorter",
    "_domain_lists",
    "_block_set",
    "_list_entries",
    "_adblock",
    "_zone_lines",
    "_list_reader",
    "_pages",
    "_clock",
    "_answer",
    "_special_names",
    "_local",
    "_hosts",
    "_entry",
    "_hotcache",
    "_ring_index",
    "_seen_clients",
    "_ring",
    "_rings",
    "_intake",
    "_control",
    "_disk",
    "_put",
    "_database",
    "_writer",
    "_counters",
    "_response",
    "_udp",
    "_query",
    "_clients",
    "_proxy_protocol",
    "_cookies",
    "_rate_limit",
    "_outlet",
    "_waiters",
    "_rules",
    "_protection",
    "_blocking",
    "_policy",
    "_own_answers",
    "_changes",
    "_outbox",
    "_cache",
    "_cache_settings",
    "_ports",
    "_upstream",
    "_wheel",
    "_flights",
    "_groups",
    "_shares",
    "_questions",
    "_attempts",
    "_chains",
    "_forward",
    "_fastpath",
    "_forwarded",
    "_stream",
    "_stream_queries",
    "_stream_listener",
]
# What is linked with what. Only _tls and _certificate call OpenSSL.
LIBRARIES = {
    "lmdb": {"_disk", "_database", "_put", "_writer", "_intake"},
    "nghttp2": {"_http2"},
    "ssl": {"_tls"},
    "crypto": {"_tls", "_certificate"},
}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
    # What a sixth of the C is for and nobody uses: functions with attributes, and pickles.
    "binding": False,
    "auto_pickle": False,
    # Nobody reads the C: copies of the source in it take a quarter of Cython's time.
    "emit_code_comments": False,
}
# Under FASTDNS_STRICT, which the checks of a change set, a warning of Cython or of the C compiler
# ends the build.
STRICT = bool(os.environ.get("FASTDNS_STRICT"))
C_FILES = os.environ.get("FASTDNS_BUILD_DIR", "build/cython")
Options.warning_errors = STRICT


def made_of(file: Path) -> set[Path]:
    """Return the file and each .pxd that it takes something from, itself or by another."""
    found: set[Path] = set()
    wanted = [file, file.with_suffix(".pxd")]
    while wanted:
        one = wanted.pop()
        if one not in found and one.exists():
            found.add(one)
            names = re.findall(r"^\s*from fastdns\.(\w+) cimport", one.read_text(), re.MULTILINE)
            wanted += [one.with_name(f"{name}.pxd") for name in names]
    return found


class Compile(build_ext):
    """Compiles what has changed, on all CPUs, and says so: a line for each module."""

    def build_extensions(self):
        """Compile the modules that are older than what they are made of, the largest first."""
        old = [extension for extension in self.extensions if self.is_old(extension)]
        old.sort(key=lambda extension: -os.stat(extension.sources[0]).st_size)
        (tasks, task), (results, result) = os.pipe(), os.pipe()
        os.write(task, bytes(range(len(old))))
        os.close(task)
        sys.stdout.flush()
        wanted = int(self.parallel or len(os.sched_getaffinity(0)))
        workers = [self.fork(old, tasks, result) for _ in range(min(wanted, len(old)))]
        os.close(result)
        done = 0
        while number := os.read(results, 1):
            done += 1
            print(f"compiled {old[number[0]].name} ({done} of {len(old)})", flush=True)
        for worker in workers:
            os.waitpid(worker, 0)
        if done < len(old):
            raise CompileError(f"only {done} of {len(old)} modules could be compiled")

    def fork(self, modules, tasks, result):
        """Have a process compile modules as long as there are any; Cython would hold the GIL."""
        worker = os.fork()
        if worker:
            return worker
        try:
            while number := os.read(tasks, 1):
                self.compile(modules[number[0]])
                os.write(result, number)
        except Exception as error:
            os.read(tasks, len(modules))  # nobody begins another one
            print(f"{modules[number[0]].name}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)

    def is_old(self, extension):
        compiled = Path(self.get_ext_fullpath(extension.name))
        if self.force or not compiled.exists():
            return True
        sources = made_of(Path(extension.sources[0])) | {Path(__file__)}
        return compiled.stat().st_mtime <= max(source.stat().st_mtime for source in sources)

    def compile(self, extension):
        """Compile one module. What is broken off leaves nothing that looks finished."""
        (in_c,) = cythonize(
            extension,
            include_path=["ext"],
            build_dir=C_FILES,
            compiler_directives=DIRECTIVES,
            force=True,
            quiet=True,
        )
        extension.sources = in_c.sources
        finished = Path(self.get_ext_fullpath(extension.name))
        self.force, lib, self.build_lib = True, self.build_lib, f"{self.build_temp}/unfinished"
        self.build_extension(extension)
        finished.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.get_ext_fullpath(extension.name), finished)
        self.build_lib = lib


warnings.filterwarnings("ignore", "Support for .* is still")  # Debian 12's setuptools, of a table
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends all processes, without a traceback

setup(
    # Here and not in pyproject.toml, where Debian 12's setuptools and PyPI's want different things.
    license="MIT",
    cmdclass={"build_ext": Compile},
    ext_modules=[
        Extension(
            f"fastdns.{name}",
            [f"ext/fastdns/{name}.pyx"],
            libraries=[library for library, modules in LIBRARIES.items() if name in modules],
            extra_compile_args=["-O2", "-Wall", *(["-Werror"] if STRICT else [])],
        )
        for name in MODULES
    ],
)
