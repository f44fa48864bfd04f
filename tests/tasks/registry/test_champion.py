"""The pointer is never torn, never dangles, and every change of it leaves a line."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock, Timeout

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Retention
from linear_neuron.tasks.registry import champion
from linear_neuron.tasks.registry.audit_log import LOG, append, log_decision
from linear_neuron.tasks.registry.champion import (
    POINTER,
    PromotionDecision,
    describe_status,
    promote,
    read_champion,
    read_log,
    roll_back,
)
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def two(store: Store) -> Store:
    make_version(store, "a")
    make_version(store, "b")
    return store


def test_promotion_keeps_the_one_before_by_name_and_rollback_returns_to_it(two: Store) -> None:
    assert read_champion(two) is None
    promote(two, "a", "first")
    promote(two, "b", "better")
    champion = read_champion(two)
    assert champion is not None
    assert (champion.version, champion.previous) == ("b", "a")
    assert roll_back(two, "b was slow").version == "a"
    assert [(entry["action"], entry["version"], entry["reason"]) for entry in read_log(two)] == [
        ("promoted", "a", "first"),
        ("promoted", "b", "better"),
        ("rolled back", "a", "b was slow"),
    ]
    assert describe_status(two, "a") == "champion: b was slow"
    assert describe_status(two, "b") == "left: b was slow"
    assert read_log(two)[-1]["left"] == "b"
    assert describe_status(two, "c") == "never promoted"


def test_rollback_with_nothing_before_is_refused(two: Store) -> None:
    with pytest.raises(UserError, match="There is no champion yet"):
        roll_back(two, "")
    promote(two, "a", "")
    promote(two, "b", "")
    roll_back(two, "")
    with pytest.raises(UserError, match="linear-neuron promote VERSION"):
        roll_back(two, "")


def test_an_unknown_or_incomplete_version_can_not_be_promoted(two: Store) -> None:
    (version_folder(two, "b") / "manifest.json").unlink()
    for version in ("b", "nope", ""):
        with pytest.raises(UserError, match=f"no complete version '{version}'; the newest are: a"):
            promote(two, version, "")
    assert read_champion(two) is None
    assert read_log(two) == []


@pytest.fixture
def chain(two: Store) -> Store:
    """Four versions that became champion one after the other."""
    make_version(two, "c")
    make_version(two, "d")
    for version in "abcd":
        promote(two, version, "")
    return two


def way_back(store: Store) -> list[str]:
    """Roll back until there is nothing before, and return who served in turn."""
    served: list[str] = []
    while (champion := read_champion(store)) and champion.previous and len(served) < 9:
        served.append(roll_back(store, "").version)
    with pytest.raises(UserError, match="No previous champion to roll back to"):
        roll_back(store, "")
    return served


def test_each_rollback_goes_one_champion_further_back(chain: Store) -> None:
    steps = [roll_back(chain, "") for _ in range(3)]
    assert [(step.version, step.previous) for step in steps] == [("c", "b"), ("b", "a"), ("a", None)]
    promote(chain, "c", "better than it seemed")
    assert way_back(chain) == ["a"]


def test_a_rollback_whose_line_was_never_written_counts_for_the_next(
    chain: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("linear_neuron.tasks.registry.champion.append", lambda store, entry: None)
        assert roll_back(chain, "").version == "c"
    assert way_back(chain) == ["b", "a"]
    assert [entry["action"] for entry in read_log(chain)][4:] == ["rolled back"] * 3


def test_rollback_passes_over_what_a_rollback_left_until_it_is_promoted_again(chain: Store) -> None:
    promote(chain, "b", "again")  # a, c, d, b
    assert roll_back(chain, "").version == "d"
    assert way_back(chain) == ["c", "a"]
    promote(chain, "b", "once more")
    assert way_back(chain) == ["a"]


def test_rollback_passes_over_versions_that_are_gone_and_names_them(
    chain: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for version in "bc":
        chain.remove(version_folder(chain, version))
    assert roll_back(chain, "").version == "a"
    assert [record.message for record in caplog.records] == [
        "No longer in the store: c, b. Restoring the previous champion that is still there."
    ]


def test_rollback_with_all_before_gone_changes_nothing_and_names_them(two: Store) -> None:
    promote(two, "a", "")
    promote(two, "b", "")
    two.remove(version_folder(two, "a"))
    with pytest.raises(
        UserError, match=r"No previous champion to roll back to\. No longer in the store: a\. Promote a"
    ):
        roll_back(two, "")
    champion = read_champion(two)
    assert champion is not None
    assert champion.version == "b"


def test_rollback_goes_back_by_the_pointer_alone_where_the_log_is_lost(chain: Store) -> None:
    (chain.root / LOG).unlink()
    assert way_back(chain) == ["c"]


def test_retention_keeps_the_version_that_a_further_rollback_would_go_to(chain: Store) -> None:
    roll_back(chain, "")
    assert clean_store(chain, Retention(newest=1, days=0)) == ["model a"]
    assert way_back(chain) == ["b"]


def test_a_comparison_with_a_champion_that_has_changed_since_is_off(two: Store) -> None:
    promote(two, "a", "")
    stale = PromotionDecision(promote=True, reason="", figures={}, champion=None)
    with pytest.raises(UserError, match="b was compared with None, but a has become champion since"):
        promote(two, "b", "", stale)


@pytest.mark.parametrize("change", [lambda store: promote(store, "a", ""), lambda store: roll_back(store, "")])
def test_a_change_that_others_always_come_before_is_given_up(
    two: Store, monkeypatch: pytest.MonkeyPatch, change: Callable[[Store], object]
) -> None:
    promote(two, "a", "")
    promote(two, "b", "")
    monkeypatch.setattr(Store, "swap", lambda *_: False)
    with pytest.raises(UserError, match=r"champion\.json is being changed by too many others at once; try again\."):
        change(two)


def test_promoting_the_champion_again_keeps_the_one_before(two: Store) -> None:
    promote(two, "a", "")
    promote(two, "b", "")
    assert promote(two, "b", "again").previous == "a"


def test_a_damaged_pointer_names_the_last_known_champion_and_is_restored_by_promoting_it(two: Store) -> None:
    promote(two, "a", "")
    two.write(two.root / POINTER, b'{"version": "a"')
    with pytest.raises(
        UserError, match=r"champion\.json is damaged; .* is a\. Restore it with `linear-neuron promote a`"
    ):
        read_champion(two)
    with pytest.raises(UserError, match="is damaged"):
        roll_back(two, "")
    assert promote(two, "a", "restored").version == "a"
    two.write(two.root / POINTER, b"")
    (two.root / LOG).unlink()
    with pytest.raises(UserError, match="last known champion is b"):
        read_champion(two)


READER = """
import sys
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store
store, seen = Store(sys.argv[1]), set()
for _ in range(2000):
    champion = read_champion(store)
    seen.add(champion.version)
assert all(read_version(store, version).version == version for version in seen)
print(" ".join(sorted(seen)))
"""


def test_changes_are_read_by_others_without_a_torn_read(two: Store) -> None:
    promote(two, "a", "")
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(two.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for _ in range(50):
        promote(two, "b", "there")
        roll_back(two, "and back")
    seen = [reader.communicate(timeout=120)[0].split() for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert all(set(names) <= {"a", "b"} for names in seen)
    assert len(read_log(two)) == 101


PROMOTER = """
import sys
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.storage.store import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[3])):
    promote(store, sys.argv[2], str(number))
"""


@pytest.mark.parametrize(("kind", "count"), [("disk", 25), pytest.param("s3", 4, marks=pytest.mark.slow)])
def test_concurrent_promotions_lose_nothing(store: Store, s3: str, kind: str, count: int) -> None:
    shared = store if kind == "disk" else Store(f"{s3}/concurrent")
    for version in ("a", "b"):
        make_version(shared, version)
    command = [sys.executable, "-c", PROMOTER, str(shared.root)]
    others = [subprocess.Popen([*command, name, str(count)]) for name in ("a", "b")]
    assert [other.wait(timeout=120) for other in others] == [0, 0]
    log = read_log(shared)
    assert sorted((entry["version"], int(entry["reason"])) for entry in log) == [
        (name, number) for name in "ab" for number in range(count)
    ]
    pointer = json.loads((shared.root / POINTER).read_bytes())
    assert pointer["version"] in "ab"


def test_a_promotion_killed_before_its_line_is_logged_all_the_same(two: Store) -> None:
    promote(two, "a", "first")
    killed = """
import os, sys
from linear_neuron.tasks.registry import champion
from linear_neuron.tasks.storage.store import Store
append = champion.append
champion.append = lambda store, entry: os._exit(9) if entry.get("reason") == "better" else append(store, entry)
champion.promote(Store(sys.argv[1]), "b", "better")
"""
    assert subprocess.run([sys.executable, "-c", killed, str(two.root)], check=False).returncode == 9
    assert b"better" not in (two.root / LOG).read_bytes()
    expected = [("promoted", "a", "first"), ("promoted", "b", "better")]
    assert actions(two) == expected
    assert describe_status(two, "b") == "champion: better"
    roll_back(two, "worse after all")
    assert actions(two) == [*expected, ("rolled back", "a", "worse after all")]
    assert (two.root / LOG).read_bytes().count(b"better") == 1


def actions(store: Store) -> list[tuple[str, str, str]]:
    return [(entry["action"], entry["version"], entry["reason"]) for entry in read_log(store)]


@pytest.mark.parametrize("given_up", [False, True], ids=["tried again", "given up"])
def test_a_lost_reply_of_a_bucket_makes_no_change_twice(
    s3: str, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    shared = Store(f"{s3}/lost-{given_up}")
    for version in ("a", "b"):
        make_version(shared, version)
    promote(shared, "a", "first")
    promote(shared, "b", "better")
    put, lost = shared.root.fs.pipe_file, []

    def lose(path: str, data: bytes, **condition: str) -> None:
        put(path, data, **condition)
        if path not in lost:  # The reply to the first put of each file is lost.
            lost.append(path)
            if given_up:
                raise ConnectionResetError("the reply is lost")
            put(path, data, **condition)  # as the S3 client does on its own

    monkeypatch.setattr(shared.root.fs, "pipe_file", lose)
    assert roll_back(shared, "back").version == "a"
    assert [path.rpartition("/")[2] for path in lost] == [POINTER, LOG]
    assert [entry["action"] for entry in read_log(shared)] == ["promoted", "promoted", "rolled back"]
    assert (shared.root / LOG).read_bytes().count(b"\n") == 3


def test_a_change_that_was_overtaken_after_its_lost_reply_counts_once(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Store(f"{s3}/overtaken")
    for version in ("a", "b"):
        make_version(shared, version)
    put = shared.root.fs.pipe_file

    def lose(path: str, data: bytes, **condition: str) -> None:
        monkeypatch.setattr(shared.root.fs, "pipe_file", put)
        put(path, data, **condition)
        promote(shared, "b", "by another")
        put(path, data, **condition)

    monkeypatch.setattr(shared.root.fs, "pipe_file", lose)
    assert promote(shared, "a", "first").version == "b"
    assert actions(shared) == [("promoted", "a", "first"), ("promoted", "b", "by another")]


WAITING = """
import sys
from filelock import FileLock
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.storage.store import Store
store, acquire = Store(sys.argv[1]), FileLock.acquire
FileLock.acquire = lambda *args, **kwargs: print("waiting", flush=True) or acquire(*args, **kwargs)
promote(store, "b", "")
"""


def test_a_version_that_goes_while_its_promotion_waits_is_not_promoted(two: Store) -> None:
    with two.exclusive():
        arguments = [sys.executable, "-c", WAITING, str(two.root)]
        other = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "waiting\n"
        two.remove(version_folder(two, "b"))
    assert "no complete version 'b'" in other.communicate(timeout=60)[1]
    assert read_champion(two) is None


def test_a_damaged_line_of_the_log_is_named_with_what_to_do(two: Store) -> None:
    promote(two, "a", "")
    two.write(two.root / LOG, (two.root / LOG).read_bytes() + b'{"at": "20')
    with pytest.raises(UserError, match=r"promotions\.jsonl, line 2, is damaged: .*20.* or delete that line\."):
        read_log(two)
    lines = (two.root / LOG).read_bytes().splitlines()
    two.write(two.root / LOG, lines[0])  # The advice was followed, and the editor left no line end.
    promote(two, "b", "")
    assert [entry["version"] for entry in read_log(two)] == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"at": "yesterday", "version": "a", "action": "promoted"}',
        b'{"at": "2026-01-01T00:00:00+00:00", "version": "a"}',
        b"7",
    ],
)
def test_a_line_that_says_no_time_or_not_what_was_done_is_damaged(two: Store, line: bytes) -> None:
    two.write(two.root / LOG, line + b" " * 100)
    with pytest.raises(UserError) as error:
        read_log(two)
    shown = repr((line + b" " * 100)[:80])
    assert str(error.value) == (
        f"{two.root / LOG}, line 1, is damaged: {shown}. Restore the file from a copy, or delete that line."
    )


def test_the_pointer_says_no_more_than_it_has_to(two: Store) -> None:
    promote(two, "a", "first")
    pointer = json.loads((two.root / POINTER).read_bytes())
    assert list(pointer) == ["version", "since", "previous", "reason", "entry"]
    assert pointer["previous"] is None


def test_two_decisions_without_a_key_are_two_lines(two: Store) -> None:
    for _ in range(2):
        log_decision(two, "refused", "a", "worse")
    log_decision(two, "refused", "a", "worse", key="mine")
    log_decision(two, "refused", "a", "worse", key="mine")
    ids = [entry["id"] for entry in read_log(two)]
    assert len(set(ids)) == len(ids) == 3
    assert ids[2] == "mine"


def test_pointer_and_log_are_changed_under_one_lock(two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def check(store: Store, entry: dict[str, Any]) -> None:
        with pytest.raises(Timeout):
            FileLock(f"{two.root}/.lock", timeout=0).acquire()
        seen.append(entry.get("action"))
        append(store, entry)

    monkeypatch.setattr(champion, "append", check)
    promote(two, "a", "")
    promote(two, "b", "")
    roll_back(two, "")
    owed = ["promoted", "promoted"]  # that of the pointer before is written first
    assert seen == [None, "promoted", owed[0], "promoted", owed[1], "rolled back"]
