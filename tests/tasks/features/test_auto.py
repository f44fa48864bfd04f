"""`auto` takes every usable column of a table as what it is, and says why it leaves one out."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.auto import MOST_LEVELS, choose_terms, drop_terms, write_flags
from linear_neuron.tasks.features.auto import choose as choose_task
from linear_neuron.tasks.model import AutoTerms, ColumnChoice
from linear_neuron.tasks.parameters import Dataset

ROWS = 100


def choose(path: Path, columns: Mapping[str, Sequence[object]], **options: object) -> tuple[Dataset, AutoTerms]:
    """Choose terms for a table with these columns and a target."""
    rows = len(next(iter(columns.values())))
    lines = [",".join([*columns, "price"])]
    lines += [
        ",".join("" if cell is None else str(cell) for cell in cells)
        for cells in zip(*columns.values(), range(rows), strict=True)
    ]
    path.joinpath("t.csv").write_text("\n".join(lines) + "\n")
    dataset, auto = choose_terms(Dataset.model_validate({"source": f"{path}/t.csv", "target": "price", **options}))
    assert auto
    return dataset, auto


def explain(path: Path, cells: Sequence[object], name: str = "x", **options: object) -> tuple[list[str], str]:
    """Return the entries that a column becomes beside a number, and the reason."""
    _, auto = choose(path, {name: cells, "area": [row % 7 + 0.5 for row in range(len(cells))]}, **options)
    return auto.columns[0].entries, auto.columns[0].reason


def cycle(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


@pytest.mark.parametrize(
    ("cells", "entries", "reason"),
    [
        (cycle(1, 2, 3), ["x"], ""),
        (cycle(1, 2, None), ["x"], "33 missing cells filled"),
        (cycle("a", "b"), ["x"], "2 levels"),
        (cycle("a", None), ["x"], "1 level, 50 missing cells filled"),
        (["a"] * 60 + ["b"] * 39 + ["c"], ["x"], "3 levels, 1 of them rare"),
        (cycle("true", "false"), ["x"], "2 levels"),
        (cycle("01", "02"), ["x"], "2 levels"),
        (cycle(7), [], "one value, 7"),
        (cycle(7, None), [], "one value, 7 beside missing cells"),
        (cycle("a"), [], "one value, 'a'"),
        (cycle(None), [], "empty"),
        ([*range(5), *[None] * 95], [], "only 5 values in 100 rows"),
        (list(range(1, ROWS + 1)), [], "numbers the rows from 1"),
        ([f"id{row}" for row in range(ROWS)], [], "free text or an id: another in nearly every row, such as 'id0'"),
        ([f"t{row // 4}" for row in range(ROWS)], [], "25 levels, most of them in fewer than 10 rows"),
        (
            [*[f"{row}.5" for row in range(ROWS - 2)], "n/a", "?"],
            [],
            "numbers, but 2 cells such as '?'; empty them to use it, or name it as a category",
        ),
    ],
)
def test_column_becomes_what_it_holds(tmp_path: Path, cells: list[object], entries: list[str], reason: str) -> None:
    assert explain(tmp_path, cells) == (entries, reason)


@pytest.mark.parametrize(("name", "taken"), [("shop_id", False), ("orderId", False), ("paid", True), ("Nr", True)])
def test_different_whole_numbers_named_as_ids_are_left_out(tmp_path: Path, name: str, taken: bool) -> None:
    entries, reason = explain(tmp_path, [row * 7 + 100 for row in range(ROWS)], name)
    assert (entries, reason) == (([name], "") if taken else ([], "an id: another whole number in every row"))
    assert explain(tmp_path, cycle(3, 5), name)[0] == [name]


def test_times_become_the_parts_that_can_be_learned(tmp_path: Path) -> None:
    days = [f"{2020 + row // 60}-{row % 12 + 1:02}-{row % 28 + 1:02}" for row in range(360)]
    assert explain(tmp_path, days, "sold on") == (["month(`sold on`)", "weekday(`sold on`)"], "month and weekday")
    assert explain(tmp_path, days, "sold_on", time="sold_on")[0] == ["month(sold_on)", "weekday(sold_on)"]
    hours = [f"2026-01-{row % 28 + 1:02}T{row % 4:02}:00" for row in range(ROWS)]
    assert explain(tmp_path, hours)[0] == ["hour(x)"]
    few = [f"2026-01-{row % 28 + 1:02}" for row in range(ROWS)]
    assert explain(tmp_path, few)[1] == "27 days are too few for its months or weekdays"
    assert explain(tmp_path, few, "t", time="t")[1].startswith("when the row happened; 27 days are too few")


def test_target_key_and_columns_without_are_no_terms(tmp_path: Path) -> None:
    numbers = {name: cycle(1.5, 2.5, 3.5) for name in ("area", "usd", "known")}
    options: dict[str, object] = {"key": "id", "without": ["usd"], "known_at": "known"}
    names: list[object] = [f"r{row}" for row in range(ROWS)]
    dataset, auto = choose(tmp_path, {"id": names, **numbers}, **options)
    assert (dataset.features, dataset.categories) == (["area"], [])
    reasons = {choice.column: choice.reason for choice in auto.columns}
    assert reasons == {
        "id": "the key",
        "area": "",
        "usd": "named by --dataset.without",
        "known": "when the row became known",
        "price": "the target",
    }


def test_terms_beside_auto_are_kept(tmp_path: Path) -> None:
    columns = {"area": cycle(1.5, 2.5), "zip": cycle(1, 2), "rooms": cycle(1, 2, 3)}
    dataset, _ = choose(tmp_path, columns, features=["auto", "log(area)"], categories=["zip"])
    assert (dataset.features, dataset.categories) == (["area", "rooms", "log(area)"], ["zip"])


def test_column_called_auto_is_written_in_backticks(tmp_path: Path) -> None:
    assert explain(tmp_path, cycle(1, 2, 3), "auto")[0] == ["`auto`"]


def test_fill_is_chosen_where_a_used_column_has_missing_cells(tmp_path: Path) -> None:
    whole = {"area": cycle(1, 2, 3)}
    assert choose(tmp_path, whole)[0].missing == "reject"
    assert choose(tmp_path, whole | {"x": cycle(1, None)})[0].missing == "reject"
    assert choose(tmp_path, whole | {"x": cycle(1, 2, None)})[0].missing == "fill"


def test_fill_is_chosen_where_cells_are_missing_in_rows_without_a_target_alone(tmp_path: Path) -> None:
    columns = {"area": [*cycle(1, 2, 3)[:99], None], "kind": [*cycle("a", "b")[:99], " "]}
    path = tmp_path / "t.csv"
    choose(tmp_path, columns)
    path.write_text(path.read_text().removesuffix("99\n") + "\n")
    dataset, auto = choose_terms(Dataset.model_validate({"source": str(path), "target": "price"}))
    assert (dataset.missing, dataset.features, dataset.categories) == ("fill", ["area"], ["kind"])
    assert auto
    reasons = {choice.column: choice.reason for choice in auto.columns}
    assert reasons["area"] == "1 missing cell in rows without a target"
    assert reasons["kind"] == "2 levels, 1 missing cell in rows without a target"


def test_rows_of_the_future_do_not_count(tmp_path: Path) -> None:
    days = [f"2026-01-{1 + row % 28:02}" for row in range(99)]
    columns: dict[str, list[object]] = {"area": [*cycle(1, 2, 3)[:99], None], "at": [*days, "2999-01-01"]}
    assert choose(tmp_path, columns, time="at")[0].missing == "reject"
    assert choose(tmp_path, columns, time="at", allow_future=True)[0].missing == "fill"


def test_categories_with_the_most_levels_give_way(tmp_path: Path) -> None:
    columns = {name: [f"{name}{row % many}" for row in range(ROWS)] for name, many in (("a", 4), ("b", 5), ("c", 5))}
    dataset, auto = choose(tmp_path, columns, min_level_rows=2)
    assert dataset.categories == ["a", "b"]
    assert auto.columns[2].reason == "5 levels, with which all categories would have more than 10"
    assert MOST_LEVELS == 2_000


def test_same_rows_in_another_order_give_the_same_terms(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).permutation(ROWS).tolist()
    columns: dict[str, list[object]] = {
        "x": cycle("a", "b", "c"),
        "note": [f"n{row}" for row in range(ROWS)],
        "area": cycle(1, 2, None),
    }
    found = [choose(tmp_path, columns)[1]]
    found.append(choose(tmp_path, {name: [cells[row] for row in rows] for name, cells in columns.items()})[1])
    assert found[0] == found[1]


def test_flags_name_the_same_terms(tmp_path: Path) -> None:
    columns = {"Lot Area": cycle(1, 2, 3), "1stFlr": cycle(1, 2, None), "it's": cycle("a", "b")}
    dataset, auto = choose(tmp_path, columns)
    flags = "--dataset.features 'Lot Area' 1stFlr --dataset.categories 'it'\"'\"'s' --dataset.missing fill"
    assert write_flags(auto) == flags
    pinned = dataset.model_copy(update={"features": auto.features, "categories": auto.categories})
    assert choose_terms(pinned) == (dataset, None)


def test_terms_that_add_nothing_are_left_out_of_the_flags() -> None:
    columns = [ColumnChoice(column=name, kind="number", entries=[name]) for name in ("a", "b")]
    auto = AutoTerms(features=["a", "b"], categories=[], missing="reject", columns=columns)
    kept = drop_terms(auto, {"b": "it is a in other units"})
    assert write_flags(kept) == "--dataset.features a"
    assert kept.columns[1] == ColumnChoice(column="b", kind="left out", reason="it is a in other units")


def test_table_without_a_usable_column_is_refused(tmp_path: Path) -> None:
    message = r"no column to learn price from \(x: one value, 1; price: the target\). Name .* --dataset.features"
    with pytest.raises(UserError, match=message):
        choose(tmp_path, {"x": cycle(1)})
    with pytest.raises(UserError, match=r"x8: one value, 1; x9: one value, 1; and 3 more\)"):
        choose(tmp_path, {f"x{number}": cycle(1) for number in range(12)})


def test_unknown_target_is_refused_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'prize' .* did you mean 'price'\?; name .* by --dataset\.target"):
        choose(tmp_path, {"x": cycle(1, 2)}, target="prize")


def test_column_of_an_expression_of_the_target_is_no_term(tmp_path: Path) -> None:
    dataset, _ = choose(tmp_path, {"x": cycle(1, 2), "area": cycle(1, 2, 3)}, target="log(price)")
    assert dataset.features == ["x", "area"]


def test_named_terms_are_left_as_they_are() -> None:
    dataset = Dataset(source="missing.csv", features=["area"], target="price")
    assert choose_terms(dataset) == (dataset, None)
    assert choose_terms(Dataset()) == (Dataset(), None)


def test_rows_of_a_later_day_do_not_choose(tmp_path: Path) -> None:
    days = [f"2026-{row // 28 + 1:02}-{row % 28 + 1:02}" for row in range(ROWS)]
    late = [None if row < 56 else row % 7 + 0.5 for row in range(ROWS)]
    whole, _ = choose(tmp_path, {"day": days, "area": cycle(1, 2, 3), "late": late}, time="day")
    assert (whole.features, whole.missing) == (["area", "late"], "fill")
    dataset = Dataset(source=whole.source, target="price", time="day")
    early, _ = choose_task(dataset, date(2026, 2, 20))
    assert (early.features, early.missing, early.as_of) == (["area"], "reject", "")
