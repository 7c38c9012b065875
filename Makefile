# Everything is installed into .venv and runs from there.
# PYTHON is any Python from 3.11 on. PYTEST_ARGS chooses tests: make test PYTEST_ARGS="tests/model -n 2"

PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadfile
GPU := $(shell nvidia-smi > /dev/null 2>&1 && echo cuda12)
RUN := .venv/.installed-$(or $(GPU),cpu)
TEST := .venv/.installed-test

.PHONY: help smoke base test prove check bench docs

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile | expand -t 14

smoke: $(RUN)  ## set up, then train a small model on this machine (runs/smoke)
	@.venv/bin/gptjax train --config=configs/smoke.py --workdir=runs/smoke

base: $(RUN)  ## set up, then pretrain the model that experiments/ start from (runs/base)
	@.venv/bin/gptjax train --config=configs/small.py --workdir=runs/base

test: $(TEST)  ## set up, then run every test
	@.venv/bin/python -m pytest $(PYTEST_ARGS)

prove: $(TEST) .venv/.installed-plan .venv/.installed-torch .venv/.installed-cuda12 .venv/.installed-docs .venv/.installed-notebooks  ## set up (5 GB), then run the long proofs that `make test` leaves out
	@.venv/bin/python -m pytest -m prove $(PYTEST_ARGS)

check: $(TEST)  ## set up, then look at format, lint, types, floors and doors
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/pyright
	@.venv/bin/python -m pytest tests/test_floors.py

bench: $(TEST)  ## set up, then time this tree beside the last commit of docs/performance.md's history
	@.venv/bin/python -m benchmarks.track $(BENCH_ARGS)

docs: .venv/.installed-docs  ## set up, then build these pages as a site (site/index.html), which needs no network
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet && echo "site/index.html"

# One stamp for each set of extras. A set-up that was killed leaves .unfinished, and the next one starts over; one that
# pip gave up in good order (no network, say) leaves a .venv that still works.
.venv/.installed-%: pyproject.toml
	@if [ -e .venv/.unfinished ]; then echo "the last set-up was cut off: making .venv anew"; rm -rf .venv; fi
	@if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        || { echo "gptjax needs Python 3.11 or newer: make PYTHON=python3.12, for example"; exit 1; }; \
	    echo "making .venv with $$($(PYTHON) --version)"; \
	    $(PYTHON) -m venv --clear .venv || { echo "venv failed; on Debian: apt-get install python3-venv"; exit 1; }; \
	fi
	@touch .venv/.unfinished
	@echo "installing gptjax$(subst [cpu],,[$*]), which takes minutes the first time"
	@.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '.$(subst [cpu],,[$*])' \
	    > .venv/pip.log 2>&1 < /dev/null \
	    || { code=$$?; echo "pip failed; the end of .venv/pip.log, without addresses:"; \
	         grep -v '^WARNING: Location' .venv/pip.log | tail -n 15 | sed -E $(HIDE); \
	         [ $$code -ge 128 ] || grep -q 'cancelled by user' .venv/pip.log || rm .venv/.unfinished; exit 1; }
	@rm .venv/.unfinished
	@touch $@

# What sed takes out of pip's words: URLs, and names and numbers of hosts.
HIDE := -e 's,[a-z+]+://[^ ]*,<address>,g' -e 's,([a-z0-9-]+\.)+(org|com|net|io|dev|local|internal)\b[^ ]*,<address>,g' \
        -e "s,(host=|resolve )'[^']*',\1<address>,g" -e 's,([0-9]+\.){3}[0-9]+(:[0-9]+)?,<address>,g'
