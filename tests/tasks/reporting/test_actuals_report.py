"""What is shown of the actuals: these files first, then all so far."""

from datetime import UTC, datetime

from linear_neuron.tasks.monitoring.performance import Entry, Expected, Performance
from linear_neuron.tasks.reporting.actuals_report import count_rows, summarize, write_markdown

DAY = datetime(2026, 11, 1, 7, 30, tzinfo=UTC)
RESULT = Performance(
    version="v1",
    batch="v1-aa",
    predicted_at=DAY,
    interval=80,
    matched=1000,
    mse=9.0,
    mae=2.5,
    bias=-0.5,
    fourth=243.0,
    coverage=0.75,
    mean_mse=None,
    expected=Expected(mse=8.0),
)
ENTRY = Entry(
    source="a|b.csv",
    input="",
    settings={"target": "price"},
    recorded_at=DAY,
    rows=1010,
    rejected=3,
    unmatched=7,
    early=5,
    results=[RESULT],
)


def test_rows_are_counted_by_what_became_of_them() -> None:
    counted = "1,010 rows of actuals, 1,000 matched, 2 not predicted, 5 predicted only afterwards, 3 rejected"
    assert count_rows([ENTRY]) == counted
    assert count_rows([]) == "0 rows of actuals, 0 matched"


def test_the_report_tells_of_files_versions_and_batches() -> None:
    failed = Entry(source="c.csv", input="", settings={"target": "price"}, recorded_at=DAY, error="no column 'id'")
    other = RESULT.model_copy(update={"batch": "v1-bb", "coverage": None})
    lines = write_markdown([ENTRY, failed], [RESULT, other]).splitlines()
    assert lines[0] == f"# {count_rows([ENTRY])}"
    assert "- `c.csv`: no column 'id'" in lines
    assert "| v1 | 1,000 | 3.00 | 2.83 | - | 2.50 | -0.5000 | 75% of 80% |" in lines
    assert "| v1 | 2,000 | 3.00 | 2.83 | - | 2.50 | -0.5000 | - |" in lines
    assert lines[-2:] == [
        "| v1-bb | 1,000 | 3.00 | 2.83 | 2.50 | -0.5000 | - |",
        "| v1-aa | 1,000 | 3.00 | 2.83 | 2.50 | -0.5000 | 75% of 80% |",
    ]


def test_the_terminal_shows_a_line_a_version() -> None:
    assert summarize([RESULT, RESULT], "store/actuals").splitlines() == [
        "version  matched  RMSE  expected  mean predictor   MAE     bias  in its interval   MSE",
        "     v1    2,000  3.00      2.83               -  2.50  -0.5000       75% of 80%  9.00",
        "store/actuals",
    ]
    assert summarize([], "here") == "No prediction is known to be right or wrong yet.\nhere\n"
