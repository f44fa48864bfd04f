"""Wrong versions of the core modules, one small change each, and whether the modules' own tests notice.

`make mutants` runs all of them, `make mutants MODULES="champion score"` those of some modules, and with `SAMPLE=40` so
many of each, which are others with another `SEED`. Every mutant is a fork of one process
that has imported what is heavy, so that it costs what its tests cost. A process that a test starts
has the right version.
"""

import ast
import copy
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

REGISTRY, SCORING = "tests/tasks/registry/", "tests/tasks/scoring tests/flows/test_predict.py"
DATASET, TRAINING, TABLES = "tests/tasks/dataset/", "tests/tasks/training/", "tests/tasks/tables"
MODULES = {  # file in tasks/ -> the tests that have to notice
    "storage/store.py": f"tests/tasks/storage {REGISTRY}test_champion.py {REGISTRY}test_retention.py",
    "tables/contract.py": f"tests/tasks/scoring/test_columns.py {TABLES} tests/tasks/scoring/test_run.py",
    "tables/csv.py": TABLES,
    "tables/quotes.py": TABLES,
    "dataset/cleaning.py": f"{DATASET}test_snapshot.py {DATASET}test_history.py",
    "dataset/records.py": f"{DATASET}test_snapshot.py {DATASET}test_history.py",
    "dataset/snapshot.py": f"{DATASET}test_snapshot.py {DATASET}test_history.py",
    "dataset/split.py": f"{DATASET}test_split.py {DATASET}test_snapshot.py",
    "registry/champion.py": f"{REGISTRY}test_champion.py {REGISTRY}test_retention.py",
    "registry/log.py": f"{REGISTRY}test_champion.py {REGISTRY}test_catalogue.py",
    "registry/pending.py": f"{REGISTRY}test_pending.py",
    "registry/promotion.py": f"{REGISTRY}test_promotion.py {REGISTRY}test_pending.py",
    "registry/retention.py": f"{REGISTRY}test_retention.py",
    "registry/summaries.py": f"{REGISTRY}test_summaries.py",
    "scoring/batch.py": SCORING,
    "scoring/manifest.py": SCORING,
    "scoring/plan.py": SCORING,
    "scoring/score.py": SCORING,
    "training/metrics.py": f"{TRAINING}test_metrics.py",
    "training/interval.py": f"{TRAINING}test_metrics.py",
    "training/neuron.py": f"{TRAINING}test_neuron.py",
}
SECONDS = 300  # after which a mutant counts as noticed
MEMORY = 6 << 30  # bytes that a mutant may ask for before that counts as noticed, too
AT_A_TIME = 2
SWAPS: dict[type, Any] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


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
        case ast.Return(value=ast.expr()) if ast.unparse(changed) != "return None":
            changed.value = ast.Constant(None)
        case _:
            return
    yield f"{ast.unparse(node)}  ->  {ast.unparse(changed)}", ast.copy_location(changed, node)


def make_mutants(path: Path) -> Iterator[tuple[str, CodeType]]:
    """Make every mutant of a module."""
    tree = ast.parse(path.read_text())
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            for place, child in enumerate(value if isinstance(value, list) else [value]):
                for what, changed in mutate(child) if isinstance(child, ast.AST) else ():
                    items = [*value[:place], changed, *value[place + 1 :]] if isinstance(value, list) else changed
                    setattr(parent, name, items)
                    code = compile(ast.fix_missing_locations(tree), str(path), "exec")
                    setattr(parent, name, value)
                    yield f"{path.name}:{getattr(child, 'lineno', 0)}  {what.splitlines()[0][:140]}", code


class Mutant(SourceFileLoader, MetaPathFinder):  # type: ignore[misc]
    """Loads the mutant in the place of its module."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        super().__init__(module, str(path))
        self.code = code

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, _: str) -> CodeType:
        return self.code


def start(module: str, path: Path, code: CodeType, tests: list[str]) -> int:
    """Start a process that runs the tests on a mutant; its status is 0 if none of them failed."""
    import pytest

    if child := os.fork():
        return child
    sys.meta_path.insert(0, Mutant(module, path, code))
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os._exit(pytest.main(["-xq", "-pno:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning", *tests]))


def find_survivors(name: str, tests: list[str]) -> str:
    """Try every mutant of a module, some at a time, and list those that no test noticed."""
    path, module = Path("tasks", name).resolve(), f"tasks.{name.removesuffix('.py').replace('/', '.')}"
    everything = list(make_mutants(path))
    mutants, running, alive, late = choose(everything), dict[int, str](), list[str](), 0
    control = start(module, path, compile(path.read_text(), str(path), "exec"), tests)
    if os.waitpid(control, 0)[1]:
        return f"{name}: its tests fail without any change"
    for what, code in [*mutants, *[("", None)] * AT_A_TIME]:
        if len(running) == AT_A_TIME or (running and not code):
            child, status = os.wait()
            late += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
            alive += [running.pop(child)] if status == 0 else []
            running.pop(child, None)
        if code:
            running[start(module, path, code, tests)] = what
    noticed = f"{len(mutants) - len(alive)} of {len(mutants)} noticed, {late} of them since the tests took too long"
    return "\n  ".join([f"{name}: {noticed}; {len(everything)} in all", *alive])


def choose(mutants: list[tuple[str, CodeType]]) -> list[tuple[str, CodeType]]:
    """Choose as many as the environment's SAMPLE says by its SEED, in order; all if it says nothing."""
    count, seed = int(os.environ.get("SAMPLE") or len(mutants)), os.environ.get("SEED") or "1"
    places = random.Random(seed).sample(range(len(mutants)), min(count, len(mutants)))  # noqa: S311
    return [mutants[place] for place in sorted(places)]


def main() -> None:
    """Try the mutants of the modules that the command line names, or of all."""
    print(f"seed {os.environ.get('SEED') or '1'}")  # noqa: T201
    for heavy in ("distributed", "moto.server", "polars", "prefect.testing.utilities", "s3fs"):
        import_module(heavy)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        for name, tests in MODULES.items():
            if not sys.argv[1:] or Path(name).stem in sys.argv[1:]:
                print(find_survivors(name, tests.split()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
