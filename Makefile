# Tier Router. Everything runs in .venv, which the first target that needs it sets up.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do "$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
TRACES ?=
OUT ?= models
DEST ?=
VERSION ?=
CONFIG ?= retune.toml

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: requirements.lock pyproject.toml
	@"$(PYTHON)" -c '$(SUPPORTED)' || { echo "Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=/path/to/python3"; exit 1; }
	@echo "installing into .venv: a minute or two, once"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: .venv/installed ## install into .venv, if anything changed

.PHONY: train
train: .venv/installed ## train on the bundle, or on your own: make train TRACES=traces.parquet OUT=models
	@$(BIN)/tier-router train $(if $(TRACES),--traces "$(TRACES)") --out "$(OUT)"

.PHONY: demo
demo: .venv/installed ## the whole loop on two simulated models, without a key, in two minutes
	@$(BIN)/tier-router demo

.PHONY: test
test: .venv/installed ## run the whole test suite
	@$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile

.PHONY: node
node: tests/node/node_modules/installed ## install what the JavaScript tests need, where npm is present

tests/node/node_modules/installed: tests/node/package-lock.json
	@npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

.PHONY: lint
lint: .venv/installed ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy pipeline features

.PHONY: format
format: .venv/installed ## put the code in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: ship
ship: .venv/installed ## serve the newest version of OUT, or VERSION=models/v3, from DEST=/folder/that/services/read
	@test -n "$(DEST)" || { echo "make ship DEST=/folder/that/services/read [VERSION=models/v3]"; exit 2; }
	@$(BIN)/tier-router ship "$(or $(VERSION),$(OUT))" "$(DEST)"

.PHONY: retune
retune: .venv/installed ## learn from a month of logs and promote what is no worse: make retune CONFIG=retune.toml
	@$(BIN)/tier-router retune --config "$(CONFIG)"

.PHONY: year
year: .venv/installed ## replay real tasks as twelve months of traffic, with and without retunes
	@$(BIN)/tier-router year

.PHONY: bench-latency
bench-latency: .venv/installed ## measure one decision beside a bare Tokenizer, an empty call and scikit-learn
	@$(BIN)/python -m tests.bench latency

.PHONY: bench
bench: .venv/installed ## measure quality, robustness, speed and scale beside baselines: an hour
	@$(BIN)/python -m tests.bench

.PHONY: ui
ui: .venv/installed ## open the MLflow interface on the store in OUT
	@$(BIN)/mlflow ui --backend-store-uri "sqlite:///$(OUT)/mlflow.db"

.PHONY: lock
lock: .venv/installed ## resolve requirements.lock anew, for all supported Pythons
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --extra dev --upgrade pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## remove .venv and caches; models stay
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
