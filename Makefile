# Every target sets up what it needs, Debian packages included, and is quick when nothing changed.
#   PYTHON=python3.12   the Python that .venv is made with (default: python3)
#   ARGS="…"            more arguments for run, test, bench or test-deb
#   LISTEN=127.0.0.1:53530   where `make run` listens
#   SUITE=trixie        the Debian that `make test-deb` is about (default: bookworm)
#   VERSION_SUFFIX=+test1    makes `make deb` build a higher version, to try an upgrade with

PYTHON ?= python3
ARGS ?=
SUITE ?= bookworm
VERSION_SUFFIX ?=
LISTEN ?= 127.0.0.1:5353
# Root's daemon becomes another user, to whom a checkout in root's home is closed.
STATE := $(if $(filter 0,$(shell id -u)),/run/fastdns-run,.run)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
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
	@echo "make test-quick   those that take less than a minute"
	@echo "make lint    check style and types"
	@echo "make bench   measure against other forwarders  (ARGS=\"--help\")"
	@echo "make bench-peers   install those of Debian; none is started"
	@echo "make deb     build the Debian package: dist/fastdns_*.deb"
	@echo "make test-deb   the package's life in a bare Debian with a systemd of its own; needs root"
	@echo "make documents   renew reference.toml and the README's keys after a change of the schema"
	@echo
	@echo "PYTHON=python3.12 chooses the Python that .venv is made with (3.11 to 3.13)."

# A second make, because a .venv made anew takes the stamps in it along.
dev:
	@sh packaging/venv.sh "$(PYTHON)" $(if $(filter file,$(origin PYTHON)),any)
	@$(MAKE) -s --no-print-directory .venv/.compiled

.venv/.installed: pyproject.toml
	@PYTHON=$(BIN)/python sh packaging/apt-packages.sh dev
	@echo "fastdns: installing into .venv and compiling"
	$(PIP) install --upgrade "cython>=3" "setuptools>=70.1"
	$(PIP) install --no-build-isolation --editable ".[dev]"
	touch $@

.venv/.compiled: .venv/.installed setup.py $(SOURCES) $(if $(strip $(LOST)),FORCE)
	@PYTHON=$(BIN)/python sh packaging/apt-packages.sh dev
	$(if $(wildcard $@),$(if $(filter setup.py,$?),rm -rf build/cython))
	$(BIN)/python setup.py --quiet build_ext --inplace --parallel "$$(nproc)"
	touch $@

run: dev
	@echo "Try: dig @$(firstword $(subst :, ,$(LISTEN))) -p $(lastword $(subst :, ,$(LISTEN))) example.com"
	@echo "And: $(BIN)/fastdns cache ls --state $(STATE)"
	@echo "     $(BIN)/fastdns top --state $(STATE)   (stats, reload: the same way)"
	@exec $(BIN)/fastdns serve --listen $(LISTEN) --state $(STATE) $(ARGS)

# Units, documents, and the journeys that only ask one daemon.
QUICK := tests/unit $(wildcard tests/test_*.py) \
	$(patsubst %,tests/journey/test_%.py,answers_match_upstream headers_and_edns hostile_queries spoofed_replies)

# All tests run beside each other. A selection pays for no more workers than it asks for: ARGS="-n4 …".
test: dev
	@sh packaging/apt-packages.sh test
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=auto)

test-quick: dev
	@sh packaging/apt-packages.sh test
	$(BIN)/python -m pytest --numprocesses=auto $(QUICK)

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

deb:
	@sh packaging/apt-packages.sh deb
	@sh packaging/build-deb.sh $(VERSION_SUFFIX)

# What the machine lacks for it is said before anything is installed.
test-deb:
	@$(PYTHON) packaging/story --lacking
	@sh packaging/apt-packages.sh story
	@$(PYTHON) packaging/story --suite $(SUITE) $(ARGS)

# A benchmark without plots is one all the same.
.venv/.plots: pyproject.toml | dev
	-@$(PIP) install $$($(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])') \
		&& touch $@ || echo "fastdns: no matplotlib, so no plots"
