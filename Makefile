# The README's two commands are `make demo` and `make test`; each does all of its own set-up.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-unit check docs env lock bench clean help
.DEFAULT_GOAL := help

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: env  ## Two tenants' documents from Kafka to cited answers
	@$(BIN)/python -m samples.demo

test: env  ## The whole suite, on real Postgres, Kafka and Neo4j
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-unit: env  ## What needs no server and takes no seconds: under a minute
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not servers and not slow"

check: env  ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: env  ## The documentation site, in build/site
	@$(BIN)/properdocs build --quiet --strict
	@echo build/site/index.html

bench: env  ## Every benchmark, one JSON object each
	@for b in $$(ls benchmarks/*.py | xargs -n1 basename -s .py | grep -v '^_'); do $(BIN)/python -m benchmarks.$$b --json || exit 1; done

env: $(READY)  ## .venv, exactly as locked

SYNC := VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock

# uv comes by pip with its hash; everything else comes by uv with every hash. Bytecode is compiled
# at install so that the first start is as fast as the second. A worker of that compilation has been seen to
# die on a busy machine: the second run compiles what the first did not.
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	@echo "setting up .venv (some minutes the first time: the locked stack is about 7 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-uv.lock
	@$(SYNC) || $(SYNC)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

lock: env  ## Resolve again, for every platform, with hashes and without addresses
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --extra embedded --extra openvino --extra object-stores --extra ocr --extra models --group dev pyproject.toml -o requirements.lock
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(BIN)/uv pip compile --quiet --universal --generate-hashes \
	  --no-emit-index-url --no-header --python-version 3.11 - -o requirements-uv.lock

clean:  ## Remove .venv and caches; the servers' data stays (see `headrace down --purge`)
	@rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
