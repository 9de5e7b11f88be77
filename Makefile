# make reproduce    install, then the paper's figures and tables on a thin grid (four minutes on two cores)
# make explore      install, then a page on this machine to explore the theory with
# make test         install, then the test suite: six minutes on two cores
# make test-all     the slow tests too
# make campaigns    theory against SGD at real sizes, and sweeps that are killed: hours
# make docs         the documentation into site/, which opens from site/index.html without a network
# make lint types   what continuous integration also checks
# make size         how large the code is, in tokens
# make prose        turns of phrase that readers have to read twice
PYTHON ?= python3
VENV   ?= .venv
PRESET ?= quick

BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: reproduce explore test test-all campaigns docs lint types size prose clean

reproduce: $(VENV)/installed
	$(BIN)/sgdlimit reproduce --preset $(PRESET) $(if $(OUT),--out $(OUT))

explore: $(VENV)/installed-explorer
	$(BIN)/sgdlimit explore

test test-all: export SGDLIMIT_SCREENSHOTS ?= build/screenshots

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

test-all: test
	$(BIN)/python -m pytest -m slow

campaigns: $(VENV)/installed-test
	$(BIN)/python -m pytest campaigns --numprocesses=0 -s
	$(BIN)/python -m pytest tests -m campaign

docs: $(VENV)/installed-docs
	$(BIN)/mkdocs build --strict

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/python tools/prose.py

types: $(VENV)/installed-dev
	$(BIN)/pyright

size:
	@$(PYTHON) tools/size.py

prose:
	@$(PYTHON) tools/prose.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'sgdlimit needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-explorer: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[explorer]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/installed-explorer $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing into $(VENV) ...'
	@$(INSTALL) --editable '.[docs]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
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
