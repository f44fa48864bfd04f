# make run    the whole product, once                make lint   style, types, the rooms' rules
# make up     server, UI, schedules and a worker     make bench  time the job beside its peers
# make test   run the tests                          make lock   write requirements.lock anew

PYTHON ?= python3
bin := .venv/bin
uv := $(bin)/uv --quiet
# An environment of the user's may forbid bytecode; without it every start compiles TensorFlow and Prefect anew.
unexport PYTHONDONTWRITEBYTECODE
# On a busy machine compiling one large file may take longer than the minute that uv allows it.
export UV_COMPILE_BYTECODE_TIMEOUT = 0

run: .venv/done
	exec $(bin)/linear-neuron up --once

up: .venv/done
	exec $(bin)/linear-neuron up

# What shares one stack, which is killed and started again at first.
stack = $(shell grep -l silenced tests/deployments/test_*.py)

test: .venv/done
	$(bin)/coverage erase
	@# The tests of servers wait more than they work, so all others run beside them, and those of one stack by themselves.
	@# These end first, so the matrix of faults follows them.
	($(bin)/coverage run -m pytest $(stack) && $(bin)/coverage run -m pytest tests/faults) > .venv/stack.log 2>&1 & first=$$!; \
	$(bin)/coverage run -m pytest tests/deployments $(stack:%=--ignore %) > .venv/deployments.log 2>&1 & second=$$!; \
	$(bin)/coverage run -m pytest tests --ignore tests/deployments --ignore tests/faults; status=$$?; \
	wait $$first || status=1; wait $$second || status=1; cat .venv/stack.log .venv/deployments.log; exit $$status
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

lint: .venv/done
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/mypy --python-version 3.13  # Prefect has other types there
	$(bin)/lint-imports
	$(bin)/complexipy  # the cognitive complexity of each function
	@find flows tasks deployments -name '*.py' | xargs wc -l | awk '$$1 > 250 && $$2 != "total" {print "over 250 lines:", $$0; bad = 1} END {exit bad}'

bench: .venv/done
	$(bin)/python -m tests.benchmarks.retraining
	$(bin)/python -m tests.benchmarks.commands
	$(bin)/python -m tests.benchmarks.training
	$(bin)/python -m tests.benchmarks.sources
	$(bin)/python -m tests.benchmarks.scoring
	$(bin)/python -m tests.benchmarks.kinds
	$(bin)/python -m tests.benchmarks.clicking

# As many cases as N of the crash matrix, and as many files as N for the reader of CSV.
N ?= 10000
faults: .venv/done
	FAULTS=$(N) FUZZ=$(N) $(bin)/python -m pytest tests/faults tests/tasks/tables/test_fuzz.py

# Wrong versions of the core modules, or of MODULES (such as "champion score"), and which of them no test notices;
# with SAMPLE=40 so many of each module, others with another SEED.
mutants: .venv/done
	SAMPLE=$(SAMPLE) SEED=$(SEED) $(bin)/python -m tests.faults.mutants $(MODULES)

lock: .venv/done
	$(uv) pip compile --universal --generate-hashes --all-extras --python-version 3.11 --no-header \
		pyproject.toml --output-file requirements.lock

# pip installs uv as the lock has it, hash and all; uv installs the rest in seconds.
.venv/done: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(bin)/pip --quiet --disable-pip-version-check install --require-hashes --requirement .venv/uv.txt
	$(uv) pip sync --python $(bin)/python --compile-bytecode --require-hashes requirements.lock
	$(uv) pip install --python $(bin)/python --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: run up test lint bench faults mutants lock
