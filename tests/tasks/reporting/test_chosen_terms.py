"""The report and the terminal say what became of each column, and how to name the same terms."""

from linear_neuron.tasks.model import AutoTerms, ColumnChoice
from linear_neuron.tasks.reporting.chosen_terms import describe_columns, summarize_columns
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

AUTO = AutoTerms(
    features=["area", "lot|size"],
    categories=["suburb", "month(sold on)"],
    missing="fill",
    columns=[
        ColumnChoice(column="area", kind="number", entries=["area"], reason="2 missing cells filled"),
        ColumnChoice(column="lot|size", kind="number", entries=["lot|size"]),
        ColumnChoice(column="suburb", kind="category", entries=["suburb"], reason="5 levels"),
        ColumnChoice(column="sold on", kind="time", entries=["month(`sold on`)"], reason="month"),
        ColumnChoice(column="note\n", kind="left out", reason="free text"),
        ColumnChoice(column="price", kind="role", reason="the target"),
    ],
)
FLAGS = "--dataset.features area 'lot|size' --dataset.categories suburb 'month(sold on)' --dataset.missing fill"


def test_named_terms_are_not_described(store: Store) -> None:
    model = make_version(store, "v1")
    assert (describe_columns(model), summarize_columns(model)) == ([], "")


def test_report_has_a_row_for_each_column_and_the_flags(store: Store) -> None:
    heading, sentence, table = describe_columns(make_version(store, "v1", auto=AUTO))
    assert heading == "## Columns of the table"
    assert sentence.endswith(f"`{FLAGS}`")
    assert table.splitlines() == [
        "| column | used as | terms | why |",
        "| --- | --- | --- | --- |",
        "| area | number | area | 2 missing cells filled |",
        "| `lot\\|size` | number | `lot\\|size` | - |",
        "| suburb | category | suburb | 5 levels |",
        "| sold on | time | ``month(`sold on`)`` | month |",
        "| note | left out | none | free text |",
        "| price | role | none | the target |",
    ]


def test_terminal_has_a_line_for_each_kind_and_the_flags(store: Store) -> None:
    assert summarize_columns(make_version(store, "v1", auto=AUTO)).splitlines() == [
        "Numbers       2: area (2 missing cells filled), lot|size",
        "Categories    1: suburb (5 levels)",
        "Times         1: month(`sold on`)",
        "Left out      1: note (free text)",
        f"To pin them   {FLAGS}",
    ]


def test_terminal_counts_what_it_does_not_show(store: Store) -> None:
    columns = [ColumnChoice(column=f"c{at}", kind="number", entries=[f"c{at}"]) for at in range(10)]
    auto = AUTO.model_copy(update={"columns": columns})
    line = summarize_columns(make_version(store, "v1", auto=auto)).splitlines()[0]
    assert line == "Numbers       10: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more"
