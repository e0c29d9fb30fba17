# One command for the main job, one for the tests. Nothing is installed outside .venv.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint types bench registers clean

demo: .venv/.demo  ## the tour: several methods on shipped priors and data, one page
	$(BIN)/headwater tour --out demo

test: .venv/.test  ## the whole suite
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: .venv/.test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

registers: .venv/.test  ## the lists of methods in README, docs, site and command line, from the catalogue
	$(BIN)/python tools/registers.py

bench: .venv/.test  ## ratios against the packages that one would use instead
	$(BIN)/headwater bench

clean:
	rm -rf .venv demo build dist .pytest_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Headwater needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml gallery/pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[gallery,text,medical]' --editable ./gallery
	touch $@

.venv/.test: pyproject.toml gallery/pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,dev]' --editable ./gallery
	touch $@ .venv/.demo
