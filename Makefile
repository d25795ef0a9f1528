# Everything a newcomer needs: `make demo`, `make test`. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test check slow chaos fuzz bench bench-peers clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "embedlake needs Python 3.11 or newer; name one with: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[browser,chroma,code,demo,dev,evaluate,explore,images,langchain,llamaindex,model,office,qdrant,train]'
	@touch $@

demo: $(READY)
	$(BIN)/python -m jobs.demo

test: check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

slow: $(READY)
	$(BIN)/python -m pytest -m slow --ignore tests/chaos -n 2 --dist loadfile --no-loadscope-reorder

chaos: $(READY)
	$(BIN)/python -m pytest tests/chaos -s

fuzz: $(READY)
	EMBEDLAKE_FUZZ_COUNT=$${COUNT:-20000} EMBEDLAKE_FUZZ_SEED=$${SEED:-$$(date +%s)} $(BIN)/python -m pytest tests/fuzz -s

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

# Daft asks for an older pyarrow than embedlake has, and works with this one.
bench-peers: $(READY)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[peers]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps daft
	$(BIN)/python -m tests.benchmarks.peers

clean:
	rm -rf $(VENV) .demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
