# Every target sets up what it needs, Debian packages included, and is quick when nothing changed.
#   PYTHON=python3.12   the Python that .venv is made with (default: python3)
#   SYSTEM=1            .venv has the machine's own libraries, and nothing is downloaded (SYSTEM=0: those of PyPI)
#   ARGS="…"            more arguments for run, test, bench or test-deb
#   LISTEN=127.0.0.1:53530   where `make run` listens
#   ARCH=arm64          the architecture that `make deb` builds for: amd64, arm64, armhf (default: this machine's)
#   SUITE=trixie        the Debian that `make deb` (default: this machine's) and `make test-deb` (bookworm) are about
#   URL=https://apt.example.net   where the directory that `make repository` makes will be served
#   KEY=packages@example.net      the gpg key that signs it (default: one made for it, once)
#   VERSION_SUFFIX=+test1    makes `make deb` build a higher version, to try an upgrade with

PYTHON ?= $(if $(filter 1,$(SYSTEM)),/usr/bin/python3,python3)
SYSTEM ?=
ARGS ?=
SUITE ?= bookworm
VERSION_SUFFIX ?=
# These only from the command line: others call other things so in their environment.
ARCH :=
URL :=
KEY :=
LISTEN ?= 127.0.0.1:5353
# Root's daemon becomes another user, to whom a checkout in root's home is closed.
STATE := $(if $(filter 0,$(shell id -u)),/run/fastdns-run,.run)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Which .venv: what is chosen here holds until something else is.
CHOSEN := $(if $(filter 1,$(SYSTEM)),system,$(if $(SYSTEM)$(filter-out file,$(origin PYTHON)),pypi))
VENV := sh packaging/venv.sh make "$(PYTHON)" $(CHOSEN)
# What apt-packages.sh calls that which the .venv needs of the machine.
MACHINE = $(if $(filter system,$(shell cat .venv/.python 2>/dev/null)),system,dev)
CCACHE = $(if $(filter default,$(origin CC)),$(if $(shell command -v ccache),CC="ccache gcc"))
SOURCES := $(wildcard ext/fastdns/*.pyx ext/fastdns/*.pxd)
# Modules whose compiled file somebody has deleted: those are built again, whatever the stamp says.
LOST := $(foreach pyx,$(filter %.pyx,$(SOURCES)),$(if $(wildcard fastdns/$(basename $(notdir $(pyx))).*.so),,$(pyx)))

# nsd lives in sbin, which a plain user's PATH lacks.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help dev run test test-quick lint bench bench-peers deb test-deb FORCE

help:
	@echo "make dev     set up .venv with fastdns in it: .venv/bin/fastdns"
	@echo "make run     start fastdns on 127.0.0.1:5353   (ARGS=\"--upstream 9.9.9.9\")"
	@echo "make test    run the tests                     (ARGS=\"-k cache\")"
	@echo "make test-quick   run the tests that take less than a minute"
	@echo "make lint    check style and types"
	@echo "make bench   measure against other forwarders  (ARGS=\"--help\")"
	@echo "make bench-peers   install Debian's other forwarders; none is started"
	@echo "make deb     build the Debian package: dist/fastdns_*.deb   (ARCH=arm64, ARCH=armhf)"
	@echo "make repository   make a signed apt repository of these: dist/repository   (URL=https://…)"
	@echo "make test-deb   install, use and remove the package in a bare Debian with systemd; needs root"
	@echo "make documents   regenerate reference.toml and docs/configuration.md after a change of the schema"
	@echo
	@echo "LISTEN=127.0.0.1:53530 chooses where make run listens."
	@echo "PYTHON=python3.12 chooses the Python that .venv is made with (3.11 or newer)."
	@echo "SYSTEM=1 uses Debian's Python and libraries: nothing is downloaded from PyPI."

# A second make, because a .venv made anew takes the stamps in it along.
dev:
	@$(VENV)
	@$(MAKE) -s --no-print-directory .venv/.compiled .venv/.tools

# Like `dev`, without what only tests and checks take.
.PHONY: compiled
compiled:
	@$(VENV)
	@$(MAKE) -s --no-print-directory .venv/.compiled

.venv/.libraries: pyproject.toml packaging/venv.sh
	@sh packaging/venv.sh libraries
	@touch $@

.venv/.tools: pyproject.toml .venv/.libraries
	@sh packaging/venv.sh tools
	@touch $@

# Without debugging information, which takes a quarter of the time: CFLAGS=-g has it there.
.venv/.compiled: .venv/.libraries setup.py $(SOURCES) $(if $(strip $(LOST)),FORCE)
	@PYTHON=$(BIN)/python sh packaging/apt-packages.sh $(MACHINE)
	@$(CCACHE) CFLAGS="-g0 $$CFLAGS" $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

run: compiled
	@exec $(BIN)/fastdns serve --listen $(LISTEN) --state $(STATE) $(ARGS)

# Units, documents, and the journeys that only ask one daemon.
QUICK := tests/unit $(wildcard tests/test_*.py) \
	$(patsubst %,tests/journey/test_%.py,answers_match_upstream headers_and_edns hostile_queries spoofed_replies)

BESIDE := --numprocesses=auto --dist=worksteal

# All tests run beside each other. A selection pays for no more workers than it asks for: ARGS="-n4 …".
test: dev
	@PYTHON=$(BIN)/python sh packaging/apt-packages.sh $(MACHINE) test
	$(BIN)/python -m pytest $(or $(ARGS),$(BESIDE))

test-quick: dev
	@PYTHON=$(BIN)/python sh packaging/apt-packages.sh $(MACHINE) test
	$(BIN)/python -m pytest $(BESIDE) $(QUICK)

.PHONY: documents
documents: dev
	$(BIN)/python packaging/documents.py --committed

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint ext # it looks for pycodestyle there
	$(BIN)/mypy

bench: dev .venv/.plots
	@sh packaging/apt-packages.sh bench
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-peers:
	@sh packaging/apt-packages.sh bench peers

ELSEWHERE := $(foreach name,ARCH SUITE,$(if $(filter command line,$(origin $(name))),--$(name) $($(name))))
ELSEWHERE := $(subst --ARCH,--arch,$(subst --SUITE,--suite,$(strip $(ELSEWHERE))))

deb:
ifeq ($(ELSEWHERE),)
	@sh packaging/apt-packages.sh deb
	@sh packaging/build-deb.sh $(VERSION_SUFFIX)
else
	@PYTHON="$(PYTHON)" sh packaging/apt-packages.sh python elsewhere
	@$(PYTHON) packaging/story/elsewhere.py $(ELSEWHERE) --suffix="$(VERSION_SUFFIX)"
endif

.PHONY: repository
repository:
	@sh packaging/apt-packages.sh repository
	@sh packaging/repository.sh "$(URL)" "$(KEY)"

# What the machine lacks for it is said before anything is installed.
test-deb:
	@PYTHON="$(PYTHON)" sh packaging/apt-packages.sh python
	@$(PYTHON) packaging/story --lacking
	@sh packaging/apt-packages.sh story
	@$(PYTHON) packaging/story --suite $(SUITE) $(ARGS)

# A benchmark without plots is one all the same.
.venv/.plots: pyproject.toml | dev
	-@$(PIP) install $$($(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])') \
		&& touch $@ || echo "fastdns: no matplotlib, so no plots"
