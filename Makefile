# Gatepost: every recipe is one step that can also be typed by hand.
PYTHON ?= $(shell tests/setup-python --which)
VENV   := .venv
BIN    := $(VENV)/bin
CODE   := core cpq daemons mail ops protocol tunnel
CASES  ?= all
PEERS  ?= all
ROUNDS ?= 3
JOBS   ?= 3

comma  := ,

.DEFAULT_GOAL := help
.PHONY: help setup tools lab test package compiled fault-long check compose-demo compose-test wheels deb bench depth tunnels profile clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/ready ## Make the virtual environment with `gatepost` in it

$(VENV)/ready: pyproject.toml tests/setup-python
	@tests/setup-python --make $(VENV) --python "$(PYTHON)"
	@touch $@

tools: ## Install the Debian packages that the tests start (as root)
	@tests/setup-debian
	@tests/setup-root --tree >/dev/null || [ "$$CI" != true ]

lab: setup ## Run the main job: the whole system, one message road end to end
	@$(BIN)/gatepost lab demo

test: setup tools package compiled ## Run every test, a few files at a time since most of them wait (one by one: JOBS=0)
	@folder=$$(mktemp -d /tmp/gp.XXXXXX) && trap 'rm -rf "$$folder"' EXIT && \
	  $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --basetemp "$$folder"

# Made before the tests that install it, since it takes longer than a test may.
package:
	@[ "$$(id -u)" -ne 0 ] || $(BIN)/python -m tests.support.package >/dev/null || [ "$$CI" != true ]

# Whatever PYTHONDONTWRITEBYTECODE says: the tests start some thousand daemons and commands, a third quicker then.
compiled:
	@$(BIN)/python -m compileall -q $(CODE) tests/support

fault-long: setup tools compiled ## Kill, fill, break, cut and lie for an hour: the long forms
	@for file in tests/fault/test_*.py tests/integration/test_tunnel_network.py; do echo "$$file"; \
	  GATEPOST_LONG=1 $(BIN)/python -m pytest -q -s "$$file" || exit 1; done

check: setup ## Lint, types, layers and the shape of the tree
	@echo "ruff";           $(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@echo "mypy";           $(BIN)/mypy
	@echo "import layers";  $(BIN)/lint-imports --no-cache | tail -n 12
	@echo "shape";          $(BIN)/python -m pytest -q tests/unit/test_shape.py
	@echo "units";          tests/setup-debian systemd && $(BIN)/python -m pytest -q tests/unit/daemons/systemd/test_units.py
	@echo "deployment";     tests/setup-debian shellcheck && tests/check-deployment $(VENV)

bench: setup tools ## Measure against peers (an hour); less: make bench CASES=4k-kept-20 PEERS=postfix
	@bench/setup-peers $(filter-out all,$(subst $(comma), ,$(PEERS)))
	@$(BIN)/python -m bench --cases $(CASES) --peers $(PEERS) --rounds $(ROUNDS)

depth: setup ## Measure a queue of a million messages for 50,000 hosts that do not answer (DEPTH="--dead silent")
	@$(BIN)/python -m bench.depth $(DEPTH)

tunnels: setup tools ## Measure 2,000 appliances at one bastion: memory, reconnect storm, a file (TUNNELS="--rounds 0")
	@$(BIN)/python -m bench.tunnels $(TUNNELS)

profile: setup tools ## Flame graphs of the gateway and the delivery queue under load
	@$(BIN)/python -m bench.profile

compose-demo: setup tools ## The same main job across containers, without a registry (as root)
	@$(BIN)/python -m tests.support.compose_lab

compose-test: setup tools ## The containers' tests: cut networks, kill, stop, without a registry (as root)
	@$(BIN)/python -m pytest -q tests/integration/test_compose_lab.py

wheels: ## Collect our wheel and those of all libraries in dist/wheels, for the package and the image
	@test -x $(BIN)/python || $(MAKE) --no-print-directory setup
	@debian/wheels $(BIN)/python

deb: wheels ## Build the Debian package, dist/gatepost_VERSION_ARCH.deb
	@debian/build

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
