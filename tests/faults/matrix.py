"""Scenarios, what is done to them, and what must hold afterwards, whatever was done.

A scenario is a command on a store that was prepared. It is killed at a step, then run again, then the store is
cleaned. Right after the kill the store must be whole, the pointer old or new, and the log agree with it. In the end all
must be as if nothing had happened.
"""

import io
import itertools
import json
import os
import random
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.registry.champion import promote, read_champion, read_log
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store, digest, locate
from tests.faults.faults import DATABASE, REFUSABLE, Fault, Kind
from tests.faults.zygote import Outcome, Zygote
from tests.helpers import make_version

A, B = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
SIZED: set[Kind] = {"torn write", "disk full at a size"}  # of which every size is worth a try
MANY = "FAULTS" in os.environ  # `make faults`: every step and more besides; otherwise a sample, beside other tests
HARM = ("loss", "wrong answer", "traceback", "hang", "litter")
VOLATILE = re.compile(rb'"(at|since|created_at|predicted_at|recorded_at|id|tag)": ?"[^"]*"')
NEW = re.compile(r"(?!2026010|2026012|2026011)\d{8}T\d{6}Z-[0-9a-f]{6}")  # versions that a scenario made


@dataclass(frozen=True, eq=False)
class Scenario:
    """A command, and the world it is run in."""

    name: str
    command: str
    arguments: dict[str, Any]
    prepare: Callable[["World"], None]
    database: bool = False  # whether there is a database with a table `sales`
    refused_again: bool = False  # whether a second run may be refused, since the first one was done

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Harm:
    """Something that must not be."""

    kind: str  # one of HARM
    message: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.fault.kind} {self.fault.at} {self.fault.size or ''}: {self.kind}: {self.message[-500:]}"


TRIED: Counter[str] = Counter()  # kind of fault -> how often it was tried
DONE: Counter[tuple[str, str]] = Counter()  # kind of fault, kind of harm -> how often it did that


def count(fault: str, harm: list[tuple[str, str]]) -> None:
    """Count what was tried, and what it did; whatever is none of our kinds of harm is a wrong answer."""
    TRIED[fault] += 1
    DONE.update({(fault, kind if kind in HARM else "wrong answer") for kind, _ in harm})


def make_table() -> str:
    """What was tried, by kind of fault, and what it did."""
    lines = [f"{'fault':<32}{'tried':>9}" + "".join(f"{kind:>14}" for kind in HARM)]
    for fault, tried in sorted(TRIED.items()):
        lines.append(f"{fault:<32}{tried:>9,}" + "".join(f"{DONE[fault, kind]:>14,}" for kind in HARM))
    total = {kind: sum(times for (_, done), times in DONE.items() if done == kind) for kind in HARM}
    lines.append(f"{'all':<32}{TRIED.total():>9,}" + "".join(f"{total[kind]:>14,}" for kind in HARM))
    return "\n".join(lines)


class World:
    """A folder or bucket with a store in it, made for every case, and the process that runs commands on it."""

    def __init__(self, zygote: Zygote, root: str, scratch: Path) -> None:
        self.zygote, self.root, self.scratch = zygote, root, scratch
        self.store = Store(f"{root}/store")
        self.templates: dict[Scenario, dict[str, bytes]] = {}  # path -> content

    def reset(self, scenario: Scenario) -> None:
        """Make the world as the scenario wants it."""
        fs, root = self.store.root.fs, self.store.root.path.rstrip("/").removesuffix("/store")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        if scenario.database:
            make_database(self.scratch / DATABASE)
        if fs.exists(root):
            fs.rm(root, recursive=True)
        if scenario not in self.templates:
            scenario.prepare(self)
            self.templates[scenario] = {path: fs.cat_file(path) for path in fs.find(root)}
            return
        for folder in {path.rpartition("/")[0] for path in self.templates[scenario]} if self.store.local else ():
            Path(folder).mkdir(parents=True, exist_ok=True)
        fs.pipe(self.templates[scenario])

    def run(self, command: str, fault: Fault = Fault(), **arguments: Any) -> Outcome:
        """Run a command in this world."""
        arguments = json.loads(json.dumps(arguments).replace("WORLD", self.root))
        return self.zygote.run(str(self.store.root), str(self.scratch), command, fault, **arguments)

    def read(self) -> dict[str, bytes]:
        """Everything that a run may leave, without what differs from run to run."""
        fs, found = self.store.root.fs, {}
        for path in sorted(fs.find(self.store.root.path)):
            name = path.removeprefix(self.store.root.path.rstrip("/") + "/")
            # models.json is a copy, which may be there or not; a run that fails may be a look of an alarm, too.
            if name not in (".lock", "models.json", "looks.json"):
                found[NEW.sub("NEW", name)] = plain(name, fs.cat_file(path))
        found |= {f"temporary {path.name}": b"" for path in self.scratch.iterdir()}
        if (self.scratch / DATABASE).exists():
            found["table predicted"] = read_predicted(self.scratch / DATABASE)
        found["promotions.jsonl"] = b"\n".join(f"{a} {v}: {r}".encode() for a, v, r in list_decisions(self.store))
        return found


def make_database(path: Path) -> None:
    """Make a database with rows to predict, and with predictions of another batch."""
    with closing(sqlite3.connect(path)) as session:
        session.executescript(
            """
            create table sales (id integer, "RM" real);
            insert into sales values (1, 5), (2, null), (3, 6);
            create table predicted (batch, model_version, input_name, predicted_at, id integer, "RM" float,
                prediction float, prediction_low float, prediction_high float, extrapolated boolean);
            insert into predicted (batch, input_name, id) values ('other', 'sales', 9);
            """
        )


def read_predicted(path: Path) -> bytes:
    """Read the rows that were loaded, but for when they were predicted."""
    with closing(sqlite3.connect(path)) as session:
        rows = session.execute("select batch, input_name, id, prediction from predicted order by batch, id").fetchall()
    return repr(rows).encode()


def plain(name: str, data: bytes) -> bytes:
    """Leave out of a file what differs from run to run: times, and all of what tells them in other ways."""
    if NEW.search(name) and not name.endswith((".csv", ".png")):
        return b""
    if name == "actuals/index.json":
        data = re.sub(rb'\n  "sha256": "\w+"', b"", data)  # the digest of its entries, which have times
    return VOLATILE.sub(rb'"\1": "-"', NEW.sub("NEW", data.decode()).encode()) if data[:1] == b"{" else data


def list_decisions(store: Store) -> list[tuple[str, str, str]]:
    """List the log, in which what was done twice in a row is there once: a command may be given again."""
    entries = [(entry["action"], NEW.sub("NEW", entry["version"]), entry["reason"]) for entry in read_log(store)]
    return [entry for entry, _ in itertools.groupby(entries)]


def look(store: Store, allowed: set[str | None]) -> Iterator[tuple[str, str]]:
    """What is wrong with a store right after a kill; `allowed` are the versions that may be champion."""
    try:
        for sentence in verify(store):
            if None not in allowed or "nothing was checked" not in sentence:  # Where nothing served, all may be empty.
                yield "loss", sentence
        champion, log = read_champion(store), read_log(store)
    except UserError as error:
        yield "loss", str(error)
        return
    version = champion.version if champion else None
    if version and NEW.fullmatch(version):
        allowed = {version if name == "NEW" else name for name in allowed}
    if version not in allowed:
        yield "wrong answer", f"the champion is {version}"
    served = [entry["version"] for entry in log if entry["action"] != "refused"]
    if (served[-1] if served else None) != version:
        yield "loss", f"the log ends with {served[-1:]}, and {version} is the champion"


def differ(expected: dict[str, bytes], found: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """What is not as it would be if nothing had happened."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield "loss", f"{name} is missing"
        elif name not in expected:
            yield "litter", f"{name} is left over"
        elif found[name] != expected[name]:
            yield "wrong answer", f"{name} is {found[name][:200]!r} and not {expected[name][:200]!r}"


def finish(world: World, outcome: Outcome, scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Run the command again until it is done, then clean what is old."""
    for _ in range(2 if not outcome.ok else 0):
        outcome = world.run(scenario.command, **scenario.arguments)
        if outcome.ok or (outcome.status == "refused" and scenario.refused_again):
            break
    if outcome.status in ("traceback", "hang"):
        yield outcome.status, outcome.message
    elif not outcome.ok and not scenario.refused_again:
        yield "loss", f"refused: {outcome.message}"
    cleaned = world.run("clean", days_later=3)
    if not cleaned.ok:
        yield "traceback" if cleaned.status == "traceback" else "loss", f"clean: {cleaned.message}"


def attempt(world: World, scenario: Scenario, fault: Fault, expected: dict[str, bytes]) -> list[Harm]:
    """Do one thing to one scenario, and say what is not as it should be."""
    world.reset(scenario)
    before = read_champion(world.store)
    after = json.loads(expected["champion.json"])["version"] if "champion.json" in expected else None
    outcome = world.run(scenario.command, fault, **scenario.arguments)
    found = []
    if outcome.status in ("traceback", "hang"):
        found.append((outcome.status, outcome.message))
    if outcome.status == "refused" and fault.kind not in REFUSABLE:
        found.append(("wrong answer", f"refused: {outcome.message}"))
    if outcome.status == "refused" and "\n" in outcome.message:
        found.append(("traceback", f"not one sentence: {outcome.message}"))
    found += look(world.store, {before.version if before else None, after})
    if not found:
        found += finish(world, outcome, scenario)
        found += look(world.store, {after})
        found += differ(expected, world.read())
    return [Harm(kind, message, fault) for kind, message in found]


def explore(worlds: list[World], scenario: Scenario, kinds: set[Kind], sample: int = 10_000) -> list[str]:
    """Do to a scenario what can be done to it, or a sample of that, and count it; many in all worlds at a time."""
    seed = int(os.environ.get("SEED", "1"))
    wanted = int(os.environ.get("FAULTS", "0")) // (2 * len(SCENARIOS) + 1)  # in each test
    worlds = worlds if MANY else worlds[:1]  # In each the scenario is first run undisturbed.
    print(f"seed {seed}")  # noqa: T201

    def work(world: World, share: int) -> list[tuple[Fault, list[Harm]]]:
        outcome, expected = undisturbed(world, scenario)
        faults = [fault for fault in faults_of(outcome) if fault.kind in kinds]
        rng = random.Random(seed)  # noqa: S311
        chosen = choose(faults, sample, rng)
        more = rng.choices(faults, k=wanted - len(chosen)) if wanted > len(chosen) else []
        chosen += [replace(fault, size=rng.randrange(5000)) if fault.kind in SIZED else fault for fault in more]
        return [(fault, attempt(world, scenario, fault, expected)) for fault in chosen[share :: len(worlds)]]

    with ThreadPoolExecutor(len(worlds)) as pool:
        tried = [pair for pairs in pool.map(work, worlds, range(len(worlds))) for pair in pairs]
    place = "on S3" if not worlds[0].store.local else "on a disk"
    for fault, harm in tried:
        count(f"{fault.kind} {place}", [(one.kind, one.message) for one in harm])
    return [str(one) for _, harm in tried for one in harm]


def choose(faults: list[Fault], count: int, rng: random.Random) -> list[Fault]:
    """Choose `count` faults, or all if there are fewer, of every kind equally often as far as that goes."""
    drawn: Counter[str] = Counter()
    ranked = []
    for fault in rng.sample(faults, len(faults)):
        ranked.append((drawn[fault.kind], fault))
        drawn[fault.kind] += 1
    return [fault for _, fault in sorted(ranked, key=lambda pair: pair[0])[:count]]


def undisturbed(world: World, scenario: Scenario) -> tuple[Outcome, dict[str, bytes]]:
    """Run the scenario without any fault: the steps it takes, and the world in the end."""
    world.reset(scenario)
    outcome = world.run(scenario.command, **scenario.arguments)
    assert outcome.ok, outcome.message
    assert not list(finish(world, outcome, scenario))
    return outcome, world.read()


def faults_of(outcome: Outcome) -> Iterable[Fault]:
    """Every fault that a command can be given, by the steps that it takes."""
    yield from (Fault("disk full at a size", 0, size) for size in (0, 1, 10, 40, 150, 500, 1000, 2000, 5000))
    yield from (Fault("few open files", 0, count) for count in range(12))
    yield from (Fault("clock set back", 0, days) for days in (1, 400))
    for number, name in enumerate(outcome.steps, 1):
        yield Fault("step", number)
        yield Fault("disk full", number)
        yield Fault("read-only", number)
        yield Fault("bad sector", number)
        if name.startswith("open "):
            yield Fault("torn write", number, 0)
            yield Fault("torn write", number, 40)
    for number in range(1, outcome.requests + 1):
        yield Fault("request", number)
        yield Fault("reply", number)
        yield Fault("lost reply", number)
        yield Fault("error reply", number)
        yield Fault("store gone", number)
        yield Fault("store erring", number)


def two_versions(world: World) -> None:
    """Make a store whose champion is the first of two versions."""
    make_version(world.store, A)
    make_version(world.store, B, weights=[2.0])
    promote(world.store, A, "at first")


def two_champions(world: World) -> None:
    """Make a store whose second version took the place of the first."""
    two_versions(world)
    promote(world.store, B, "better")


def old_versions(world: World) -> None:
    """Make a store with much that retention does not keep."""
    two_champions(world)
    for day in range(4, 10):
        make_version(world.store, f"202601{day:02}T000000Z-{day:06}")
    for name in (f"datasets/{digest(b'old')}.csv", "models/20260104T000000Z-dddddd/plots/fit.png"):
        world.store.write(world.store.root / name, b"old")


def inbox(world: World) -> None:
    """Make a store with a champion, and three files to predict."""
    two_versions(world)
    folder = locate(f"{world.root}/inbox")
    world.store.write(folder / "a.csv", b"id,RM\n1,5\n2,x\n" + b"3,6\n" * 1000)
    world.store.write(folder / "b.csv", b"id,RM\n1,5\n")
    table = io.BytesIO()
    pl.DataFrame({"RM": [5.0, None, 7.0]}).write_parquet(table)
    world.store.write(folder / "c.parquet", table.getvalue())


def changed_inbox(world: World) -> None:
    """Make a store with predictions of which one input has changed since, one is gone and one is new."""
    inbox(world)
    assert world.run("predict", inputs=["WORLD/inbox"]).ok
    folder = locate(f"{world.root}/inbox")
    world.store.write(folder / "a.csv", b"id,RM\n1,7\n" + b"3,6\n" * 2000)
    world.store.write(folder / "d.csv", b"RM\n8\n")
    (folder / "c.parquet").unlink()


def corrected_actuals(world: World) -> None:
    """Make a store with actuals of which one file has been corrected since, and one more replaces the rest."""
    inbox(world)
    assert world.run("predict", **PREDICT).ok
    folder = locate(f"{world.root}/actuals")
    for name, rows in {"a": "1,9,2999", "b": "1,12,2999\n3,20,2999"}.items():
        world.store.write(folder / f"{name}.csv", f"id,MEDV,known\n{rows}\n".encode())
    assert world.run("actuals", **ACTUALS).ok
    for name, rows in {"a": "1,11,2999\n9,1,2999", "c": "3,19,2999\n2,x,2999"}.items():
        world.store.write(folder / f"{name}.csv", f"id,MEDV,known\n{rows}\n".encode())


def changed_ranges(world: World) -> None:
    """Make a store with predictions in parts, of which one input has changed since."""
    inbox(world)
    assert world.run("predict_ranges", **PARTS).ok
    world.store.write(locate(f"{world.root}/inbox") / "a.csv", b"id,RM\n1,7\n" + b"3,6\n" * 2000)


def write_table(world: World, months: int) -> None:
    """Write a table of some months, in which the price rises with the area."""
    rows = [
        f"2026-{1 + n // 28:02}-{1 + n % 28:02},{40 + n * 37 % 120},{2 * (n * 37 % 120) + n % 7}"
        for n in range(28 * months)
    ]
    text = "\n".join(["sold_on,area,price", *rows, ""])
    world.store.write(locate(f"{world.root}/table") / "sales.csv", text.encode())


def grown_table(world: World) -> None:
    """Make a store with a version of a table that has grown since."""
    write_table(world, 4)
    assert world.run("retrain_table", **TABLE).ok
    write_table(world, 6)


TABLE: dict[str, Any] = {"source": "WORLD/table", "features": ["area"], "target": "price", "time": "sold_on"}
PREDICT: dict[str, Any] = {"inputs": ["WORLD/inbox"]}
PARTS: dict[str, Any] = PREDICT | {"parts": True}
ACTUALS: dict[str, Any] = {"inputs": ["WORLD/actuals"], "key": "id", "known_at": "known"}
SCENARIOS = [
    Scenario("promote", "promote", {"version": B}, two_versions),
    Scenario("rollback", "rollback", {}, two_champions, refused_again=True),
    Scenario("clean", "clean", {"newest": 3, "days": 0}, old_versions),
    Scenario("predict", "predict", PREDICT, inbox),
    Scenario("predict again", "predict", PREDICT, changed_inbox),
    Scenario("actuals", "actuals", ACTUALS, corrected_actuals),
    Scenario("predict to Parquet", "predict", PREDICT | {"format": "parquet"}, inbox),
]
SOME = ("promote", "clean", "predict again", "actuals")  # which take most of the steps of the others
ON_S3 = [scenario for scenario in SCENARIOS if MANY or scenario.name in SOME]
# Of these a sample is tried for every change, since much of what they do is in the ones above.
MORE = [
    Scenario(
        "query into a table",
        "predict_query",
        {"inputs": ['sql:select id, "RM" from sales']},
        two_versions,
        database=True,
    ),
    Scenario("predict ranges", "predict_ranges", PREDICT, changed_inbox),
    Scenario("predict parts", "predict_ranges", PARTS, changed_ranges),
]
RETRAIN = Scenario("retrain", "retrain", {}, lambda world: world.store.root.mkdir(parents=True))
# These train, so each takes some seconds.
TRAINING = [
    RETRAIN,
    Scenario("retrain a grown table", "retrain_table", TABLE, grown_table),
    Scenario(
        "backtest",
        "backtest",
        TABLE | {"period": {"from": "2026-03-01", "to": "2026-05-01"}},
        lambda world: write_table(world, 4),
    ),
]
