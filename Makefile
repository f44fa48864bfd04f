# make run    the whole product, once                make lint   style, types, layers
# make up     server, UI, schedules and a worker     make bench  time the job beside its peers
# make test   run the quick tests, in minutes        make test-all   run all tests, with coverage
# make lock   renew requirements.lock

PYTHON ?= python3
bin := .venv/bin
uv := $(bin)/uv --quiet
# The user's environment may forbid bytecode; without it every start compiles TensorFlow and Prefect again.
unexport PYTHONDONTWRITEBYTECODE
# On a busy machine compiling one large file may take longer than the minute that uv allows it.
export UV_COMPILE_BYTECODE_TIMEOUT = 0

# Of the API and the UI, such as make up PORT=4300. For one run any other will do where it is taken.
PORT ?= 4200
run: .venv/done
	exec $(bin)/linear-neuron up --once --port $(PORT)

up: .venv/done
	exec $(bin)/linear-neuron up --port $(PORT)

# Two processes, and the tests of one stack or file in one of them, long ones first as tests/conftest.py sorts them.
# What needs minutes, servers or a browser is left out, and the folders of it are not even imported.
test: .venv/done
	$(bin)/pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder -m 'not slow and not on_demand' \
		--ignore tests/deployments --ignore tests/faults
	@echo 'Left out: slow tests, deployments and faults. Run all of them, with coverage, by: make test-all'

# Most tests of servers wait, so there is one process more than CI has cores. At -n 0 the matrix of faults prints its table.
test-all: .venv/done
	$(bin)/coverage erase
	$(bin)/coverage run -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

lint: style types newer-types

types: .venv/done
	$(bin)/mypy

newer-types: .venv/done
	$(bin)/mypy --python-version 3.13  # Prefect has other types there

style: .venv/done
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/lint-imports
	$(bin)/complexipy  # the cognitive complexity of each function
	@find flows tasks deployments -name '*.py' | xargs wc -l | awk '$$1 > 450 && $$2 != "total" {print "over 450 lines:", $$0; bad = 1} END {exit bad}'

bench: .venv/done
	$(bin)/python -m tests.benchmarks.retraining
	$(bin)/python -m tests.benchmarks.commands
	$(bin)/python -m tests.benchmarks.training
	$(bin)/python -m tests.benchmarks.sources
	$(bin)/python -m tests.benchmarks.scoring
	$(bin)/python -m tests.benchmarks.kinds
	$(bin)/python -m tests.benchmarks.past
	$(bin)/python -m tests.benchmarks.clicking

# As many cases as N of the crash matrix, and as many files as N for the reader of CSV.
N ?= 10000
faults: .venv/done
	FAULTS=$(N) FUZZ=$(N) $(bin)/python -m pytest tests/faults tests/tasks/tables/test_fuzz.py

# Wrong versions of the core modules, or of MODULES (such as "champion score"), and which of them no test notices;
# with SAMPLE=40 only 40 of each module, others with another SEED.
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

.PHONY: run up test test-all lint style types newer-types bench faults mutants lock
