# `make play` or `make test`, each alone on a fresh clone. Without make, see the pip lines in README.md.
#   make play ARGS="watch breakout"      arguments for scripts/play.py
#   make test ARGS="-m slow"             arguments for pytest
#   make play PYTHON=/path/to/python3    another interpreter than the first that fits

.DEFAULT_GOAL := help
.PHONY: help play test lint format clean

CHECK := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c '$(CHECK)' >/dev/null 2>&1 && { echo $$python; break; }; done)
VENV := .venv
INSTALLED := $(VENV)/.installed

help:
	@sed -n '1,4s/^# *//p' Makefile
	@echo "targets: play, test, lint, format, clean"

play: $(INSTALLED)
	$(VENV)/bin/python scripts/play.py $(ARGS)

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

format: $(INSTALLED)
	$(VENV)/bin/python -m ruff check --fix .
	$(VENV)/bin/python -m ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find playground agents generators scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted installation is taken up again. A .venv that does
# not run (its interpreter is gone or too old) is made anew.
$(INSTALLED): pyproject.toml constraints.txt
	@$(VENV)/bin/python -c '$(CHECK)' 2>/dev/null || { \
	python="$(PYTHON)"; \
	"$$python" -c '$(CHECK)' 2>/dev/null || { \
	echo "A Python >=3.11 with its venv module is needed, but $${python:-none} was found: install one (Debian, Ubuntu: apt install python3-venv), or name one with PYTHON=/path/to/python3." >&2; \
	exit 1; }; \
	echo "creating $(VENV) with $$python"; \
	"$$python" -m venv --clear $(VENV); }
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
