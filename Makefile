.DEFAULT_GOAL := help
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

env: $(VENV)/.ready  ## the environment alone

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

data: env  ## fetch the data and the backbones that this version names
	$(BIN)/dvc pull --quiet

release: data  ## environment, data, and the main job: a judged, recorded, promoted model
	$(BIN)/keel release

test: data  ## format, lint, types, tests
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy tasks flows service
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: help env data release test
