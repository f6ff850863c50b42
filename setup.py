"""The list of extensions; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

MODULES = [
    "_key",
    "_wire",
    "_scrub",
    "_siphash",
    "_pages",
    "_clock",
    "_answer",
    "_special_names",
    "_entry",
    "_hotcache",
    "_ring_index",
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
    "_stream",
    "_waiters",
    "_policy",
    "_changes",
    "_outbox",
    "_cache",
    "_ports",
    "_upstream",
    "_wheel",
    "_flights",
    "_groups",
    "_shares",
    "_questions",
    "_attempts",
    "_forward",
    "_fastpath",
]
ON_LMDB = {"_disk", "_database", "_put", "_writer", "_intake"}  # linked with liblmdb

# Under FASTDNS_STRICT, which the checks of a change set, a warning of Cython or of the C compiler
# ends the build.
strict = bool(os.environ.get("FASTDNS_STRICT"))
Options.warning_errors = strict

setup(
    # Here and not in pyproject.toml, where Debian 12's setuptools and PyPI's want different things.
    license="MIT",
    ext_modules=cythonize(
        [
            Extension(
                f"fastdns.{name}",
                [f"ext/fastdns/{name}.pyx"],
                libraries=["lmdb"] if name in ON_LMDB else [],
                extra_compile_args=["-O2", "-Wall", *(["-Werror"] if strict else [])],
            )
            for name in MODULES
        ],
        include_path=["ext"],
        build_dir=os.environ.get("FASTDNS_BUILD_DIR", "build/cython"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
)
