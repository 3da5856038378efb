# Two commands: `make reproduce` and `make test`. Each does all its set-up.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# One thread a process: two that share a busy small machine can be ten times slower than one.
export OMP_NUM_THREADS := 1

# A file's tests share what is costly to make, and a document's blocks build on one another.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: reproduce test test-slow lint docs bench accuracy clean

reproduce: .venv/.run
	$(BIN)/unvanish reproduce $(ARGS)

test: lint
	$(BIN)/python -m pytest $(IN_TWO) -m "not slow" $(ARGS)

test-slow: .venv/.slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/.dev
	PYTHONPATH=docs/extensions $(BIN)/python -m zensical build --clean --strict

bench: .venv/.bench
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/whole_machine.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/scaling.py
	PYTHONPATH=tests $(BIN)/python benchmarks/store.py
	PYTHONPATH=tests $(BIN)/python benchmarks/lists.py
	$(BIN)/python benchmarks/gpu.py

accuracy: .venv/.run
	$(BIN)/python benchmarks/accuracy/run.py --to docs/accuracy.md $(ARGS)

.venv/.run: pyproject.toml constraints.txt hatch_build.py $(wildcard src/unvanish/train/native/*.[ch]) src/unvanish/train/native/structs.py $(wildcard lessons/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unvanish needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@echo "Setting up .venv: a minute or two, once"
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) --editable '.[dev]'
	@touch $@

.venv/.slow: .venv/.dev
	$(PIP) --editable '.[ray]'
	@touch $@

.venv/.bench: .venv/.run
	$(PIP) --editable '.[bench]'
	@touch $@

clean:
	rm -rf .venv .cache dist build site
