"""Wrong versions of the core modules, one small change each, and whether the modules' own tests notice.

`make mutants` runs all of them, `make mutants MODULES="champion score"` those of some modules, and with `SAMPLE=40` so
many of each, which are others with another `SEED`. Every mutant is a fork of one process that has imported what is
heavy, and meets only the tests that run the changed lines, so that it costs what these cost. A process that a test
starts has the right version. Tests with a server of Prefect's are left out, since it can't be started in a fork.

Not changed is what would tell nothing of a test: log lines, numbers by which a module or a task is tuned (of a constant
of the module, or in a decorator), guards against mistakes elsewhere (`strict` of a zip, `frozen` of a class), and
a `return` of what is false already.
"""

import ast
import copy
import gc
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest
from coverage import Coverage

TASKS, FLOWS = "tests/tasks/", "tests/flows/"
REGISTRY, SCORING, DATASET = f"{TASKS}registry/", f"{TASKS}scoring", f"{TASKS}dataset/"
TRAINING, TABLES, ACTUALS = (
    f"{TASKS}training/",
    f"{TASKS}tables/test_csv.py {TASKS}tables/test_stream.py",
    f"{TASKS}monitoring {FLOWS}test_actuals.py",
)
ROWS = f"{DATASET}test_rows.py {DATASET}test_snapshot.py {DATASET}test_profile.py {TASKS}training/test_backtest.py"
MODULES = {  # file in tasks/ -> the tests that have to notice
    "storage/store.py": f"{TASKS}storage {REGISTRY}test_champion.py {REGISTRY}test_retention.py",
    "tables/columns.py": f"{TABLES} {SCORING} {ROWS}",
    "tables/cleaning.py": ROWS,
    "tables/rejects.py": f"{TABLES} {SCORING} {ROWS}",
    "tables/csv.py": f"{TABLES} {SCORING}/test_run.py",
    "tables/quotes.py": TABLES,
    "dataset/rows.py": ROWS,
    "dataset/snapshot.py": ROWS,
    "dataset/split.py": f"{DATASET}test_split.py",
    "registry/alarms.py": f"{REGISTRY}test_alarms.py",
    "registry/champion.py": f"{REGISTRY}test_champion.py {REGISTRY}test_retention.py",
    "registry/audit_log.py": f"{REGISTRY}test_champion.py {REGISTRY}test_catalogue.py",
    "registry/promotion.py": f"{REGISTRY}test_promotion.py",
    "registry/retention.py": f"{REGISTRY}test_retention.py",
    "registry/versions.py": f"{REGISTRY}test_versions.py {REGISTRY}test_catalogue.py",
    "scoring/batch.py": f"{SCORING} {FLOWS}test_predict.py",
    "scoring/done.py": "tests/tasks/scoring/test_done.py",
    "scoring/load.py": f"{FLOWS}test_predict_queries.py",
    "scoring/manifest.py": f"{SCORING} {FLOWS}test_predict.py",
    "scoring/plan.py": f"{SCORING} {FLOWS}test_predict.py",
    "scoring/run.py": f"{SCORING} {FLOWS}test_predict.py",
    "scoring/score.py": f"{SCORING} {FLOWS}test_predict.py",
    "training/metrics.py": f"{TRAINING}test_metrics.py",
    "training/neuron.py": f"{TRAINING}test_neuron.py",
    "monitoring/match.py": ACTUALS,
    "monitoring/performance.py": ACTUALS,
    "monitoring/compare_versions.py": ACTUALS,
    "monitoring/actual_values.py": ACTUALS,
}
SECONDS = 90  # that a test may take before its mutant counts as noticed
MEMORY = 6 << 30  # bytes that a mutant may ask for before that counts as noticed, too
AT_A_TIME = int(os.environ.get("AT_A_TIME") or 2)
HEAVY = (
    "anyio._backends._asyncio distributed hypothesis matplotlib.figure moto.server pandas polars prefect.main "
    "prefect.testing.utilities s3fs linear_neuron.tasks.parameters upath"
)
SWAPS: dict[type, Any] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """A wrong version of a module."""

    what: str  # is wrong
    lines: range  # of the statement that was changed
    code: CodeType


def mutate(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Make every wrong version of one piece of code, and say what is wrong."""
    changed: Any = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            changed.ops = [SWAPS[type(op)]()]
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in SWAPS:
            changed.op = SWAPS[type(op)]()
        case ast.UnaryOp(op=ast.Not()):
            changed = changed.operand
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            changed.value = value + 1
        case ast.Expr(value=ast.Call()):
            changed = ast.Pass()
        case ast.Return(value=ast.expr()) if ast.unparse(changed)[7:] not in ("None", "False", "''", "0", "[]", "{}"):
            changed.value = ast.Constant(None)
        case _:
            return
    yield f"{ast.unparse(node)}  ->  {ast.unparse(changed)}", ast.copy_location(changed, node)


def is_idle(parent: ast.AST, field: str, child: ast.AST) -> bool:
    """Whether a change here would tell nothing of a test."""
    guarded = isinstance(parent, ast.ClassDef) or (isinstance(parent, ast.Call) and ast.unparse(parent.func) == "zip")
    return (
        field in ("decorator_list", "annotation", "returns")
        or (field == "keywords" and (guarded or getattr(child, "arg", "") == "frozen"))
        or (isinstance(parent, ast.Module) and isinstance(child, ast.Assign | ast.AnnAssign))
        or (isinstance(child, ast.Expr) and ast.unparse(child).startswith("get_logger()."))
    )


def make_mutants(path: Path) -> Iterator[Mutant]:
    """Make every mutant of a module."""
    tree = ast.parse(path.read_text())

    def visit(parent: ast.AST, lines: range) -> Iterator[Mutant]:
        for name, value in ast.iter_fields(parent):
            for place, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or is_idle(parent, name, child):
                    continue
                if isinstance(child, ast.stmt):
                    body = getattr(child, "body", None)
                    end = body[0].lineno if body else (child.end_lineno or child.lineno) + 1
                    lines = range(child.lineno, max(end, child.lineno + 1))
                for what, changed in mutate(child):
                    items = [*value[:place], changed, *value[place + 1 :]] if isinstance(value, list) else changed
                    setattr(parent, name, items)
                    code = compile(ast.fix_missing_locations(tree), str(path), "exec")
                    setattr(parent, name, value)
                    line = getattr(child, "lineno", 0)
                    yield Mutant(f"{path.name}:{line}  {what.splitlines()[0][:140]}", lines, code)
                yield from visit(child, lines)

    return visit(tree, range(0))


class Loader(SourceFileLoader, MetaPathFinder):  # type: ignore[misc]
    """Loads the mutant in the place of its module."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        super().__init__(module, str(path))
        self.code = code

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, _: str) -> CodeType:
        return self.code


def keep_plain(items: list[pytest.Item]) -> None:
    """Leave out the tests that need a server of Prefect's."""
    items[:] = [
        item for item in items if "server" not in getattr(item, "fixturenames", ()) and "recorded" not in item.name
    ]


class Recorder:
    """Notes which tests run which lines of a module, the quickest first; "" means all, which share the line."""

    def __init__(self, path: Path, notes: Path) -> None:
        self.path, self.notes, self.test, self.seconds = path, notes, "", dict[str, float]()
        self.coverage = Coverage(include=[str(path)], data_file=None, config_file=False, messages=False)

    def pytest_configure(self) -> None:
        self.coverage.start()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        keep_plain(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.test = item.nodeid
        begun = time.monotonic()
        self.coverage.switch_context(self.test)
        result = yield
        self.coverage.switch_context("")
        self.seconds[self.test] = time.monotonic() - begun
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        if fixturedef.scope != "function":
            self.coverage.switch_context("")
        result = yield
        self.coverage.switch_context(self.test)
        return result

    def write(self) -> None:
        """Write line -> its tests as JSON."""
        self.coverage.stop()
        lines = self.coverage.get_data().contexts_by_lineno(str(self.path))
        order = {test: place for place, test in enumerate(sorted(self.seconds, key=self.seconds.__getitem__))}
        self.notes.write_text(
            json.dumps({line: sorted(tests, key=lambda test: order.get(test, -1)) for line, tests in lines.items()})
        )


class Chosen:
    """Runs only some tests, in their order; all of them if one is "", by which is meant what they share."""

    def __init__(self, tests: list[str]) -> None:
        self.tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        keep_plain(items)
        if "" in self.tests:
            return
        places = {test: place for place, test in enumerate(self.tests)}
        items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])


def start(loader: Loader, tests: list[str], plugin: Recorder | Chosen) -> int:
    """Start a process that runs the tests on a mutant; its status is 0 if none of them failed."""
    if child := os.fork():
        return child
    sys.meta_path.insert(0, loader)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    folder = f"--basetemp={tempfile.gettempdir()}/{os.getpid()}"  # It is removed with all others, in the end.
    options = ["-xq", folder, f"--timeout={SECONDS}", "--timeout-method=thread", "-pno:cacheprovider"]
    status = pytest.main([*options, "-Wignore::pytest.PytestAssertRewriteWarning", *tests], [plugin])
    if isinstance(plugin, Recorder) and not status:
        plugin.write()
    os._exit(status)


def find_survivors(name: str, tests: list[str], notes: Path) -> str:
    """Try mutants of a module, some at a time, and list those that no test noticed."""
    path, module = Path("tasks", name).resolve(), f"linear_neuron.tasks.{name.removesuffix('.py').replace('/', '.')}"
    everything, begun = list(make_mutants(path)), time.monotonic()
    right = Loader(module, path, compile(path.read_text(), str(path), "exec"))
    if os.waitpid(start(right, tests, Recorder(path, notes)), 0)[1]:
        return f"{name}: its tests fail without any change"
    by_line, mutants = json.loads(notes.read_text()), choose(everything)
    running, alive = dict[int, str](), list[str]()

    def wait() -> None:
        child, status = os.wait()
        what = running.pop(child)
        alive.extend([what] if status == 0 else [])

    for mutant in mutants:
        # Nobody sees what runs in threads that are not Python's own, and so what no test seems to run meets them all.
        chosen = list(dict.fromkeys(test for line in mutant.lines for test in by_line.get(str(line), []))) or [""]
        if len(running) == AT_A_TIME:
            wait()
        files = tests if "" in chosen else list(dict.fromkeys(test.partition("::")[0] for test in chosen))
        running[start(Loader(module, path, mutant.code), files, Chosen(chosen))] = mutant.what
    while running:
        wait()
    noticed = f"{len(mutants) - len(alive)} of {len(mutants)} noticed"
    return "\n  ".join([f"{name}: {noticed}, {len(everything)} in all, {time.monotonic() - begun:.0f} s", *alive])


def choose(mutants: list[Mutant]) -> list[Mutant]:
    """Choose as many as the environment's SAMPLE says by its SEED, in order; all if it says nothing."""
    count, seed = int(os.environ.get("SAMPLE") or len(mutants)), os.environ.get("SEED") or "1"
    places = random.Random(seed).sample(range(len(mutants)), min(count, len(mutants)))  # noqa: S311
    return [mutants[place] for place in sorted(places)]


def main() -> None:
    """Try the mutants of the modules that the command line names, or of all."""
    print(f"seed {os.environ.get('SEED') or '1'}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TMPDIR": folder, "PREFECT_HOME": folder}
        tempfile.tempdir = folder
        Path(folder).chmod(0o711)  # Where the user is root, PostgreSQL runs as another one.
        for heavy in HEAVY.split():
            import_module(heavy)
        gc.freeze()  # pytest collects garbage in the end, and would look at all of it.
        for name, tests in MODULES.items():
            if not sys.argv[1:] or Path(name).stem in sys.argv[1:]:
                print(find_survivors(name, tests.split(), Path(folder, "lines.json")), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
