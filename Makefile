# make reproduce    install, then the paper's figures and tables on a thin grid (minutes: see README.md)
# make explore      install, then a page on this machine to explore the theory with
# make test         install, then the test suite: seven to seventeen minutes on two cores
# make test-all     the slow tests too
# make campaigns    theory against SGD at real sizes, and sweeps that are killed: hours
# make docs         the documentation into site/, which opens from site/index.html without a network
# make lint types   what continuous integration also checks
# make numbers      what the documentation quotes, measured on this machine and written into its pages: half an hour
# make size         how large the code is, in tokens
# make prose        turns of phrase that readers have to read twice
PYTHON ?= python3
VENV   ?= .venv
PRESET ?= quick

# Programs are run as modules of this Python, because a script in bin/ names its folder. Python finds the package by a
# file that holds this folder's name as UTF-8, which it reads by the locale.
ifneq ($(words $(VENV)),1)
$(error VENV must be one path without spaces (got '$(VENV)'). Choose another, or leave it out)
endif
RUN     := $(VENV)/bin/python
export LC_ALL := C.UTF-8
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: reproduce explore test test-all campaigns docs lint types numbers size prose clean

reproduce: $(VENV)/installed
	$(RUN) -m sgdlimit reproduce --preset $(PRESET) $(if $(OUT),--out '$(OUT)')

explore: $(VENV)/installed-explorer
	$(RUN) -m sgdlimit explore

test test-all: export SGDLIMIT_SCREENSHOTS ?= $(shell [ -w . ] && echo build/screenshots)

test: $(VENV)/installed-test
	$(RUN) -m pytest

test-all: test
	$(RUN) -m pytest -m slow

campaigns: $(VENV)/installed-test
	$(RUN) -m pytest campaigns --numprocesses=0 -s
	$(RUN) -m pytest tests -m campaign

docs: $(VENV)/installed-docs
	$(RUN) -m mkdocs build --strict

lint: $(VENV)/installed-dev
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -c 'from importlinter.cli import lint_imports_command as check; check()'
	$(RUN) tools/prose.py

types: $(VENV)/installed-dev
	$(RUN) -m pyright --pythonpath $(RUN)

numbers: $(VENV)/installed-test
	$(RUN) tools/measure.py

size:
	@$(PYTHON) tools/size.py

prose:
	@$(PYTHON) tools/prose.py

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'sgdlimit needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(RUN)
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-explorer: pyproject.toml constraints.txt | $(RUN)
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[explorer]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-test: pyproject.toml constraints.txt | $(RUN)
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/installed-explorer $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(RUN)
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[docs]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(RUN)
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/installed-test $(VENV)/installed

# PyTorch is large and an extra: tests that need it are skipped without it. TORCH='--index-url ...' takes another build.
$(VENV)/installed-torch: pyproject.toml constraints.txt | $(VENV)/installed-test
	@echo 'Installing PyTorch into $(VENV) ...'
	@$(INSTALL) $(TORCH) --editable '.[test,torch]'
	@touch $@ $(VENV)/installed-test $(VENV)/installed

clean:
	rm -rf $(VENV)
