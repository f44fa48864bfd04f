"""The report shows where a model is wrong, the worst first, whatever a level is called."""

from linear_neuron.tasks.dataset.slices import Slice
from linear_neuron.tasks.reporting.page import render_page
from linear_neuron.tasks.reporting.worst_slices import describe_worst_slice, read_slices, write_slices

HOSTILE = "<script>alert(1)</script>|`x`\n# [a](javascript:b)"


def cut(level: str, rmse: float, rows: int = 100) -> Slice:
    return Slice(by="cut", level=level, rows=rows, rmse=rmse, bias=0.25, coverage=0.5)


def test_the_worst_slices_come_first_and_the_rest_is_counted() -> None:
    slices = [cut("few", 90.0, rows=19), *(cut(f"l{rmse:02}", float(rmse)) for rmse in range(12))]
    heading, table, text = write_slices(slices, "the test rows", "metrics.json")
    assert heading == "## Where it is wrong"
    lines = table.splitlines()
    assert lines[2] == "| cut l11 | 100 | 11.00 | +0.25 | 50% |"
    assert len(lines) == 12
    assert text.endswith("3 more slices with smaller errors, or fewer than 20 rows: see `metrics.json`.")


def test_one_slice_is_no_section() -> None:
    assert write_slices([cut("all", 1.0)], "the test rows", "metrics.json") == []
    assert read_slices({"rows": 0}) == [], "an older version has none"


def test_a_hostile_level_is_shown_as_it_is() -> None:
    page = render_page("\n\n".join(write_slices([cut(HOSTILE, 1.0), cut("b", 2.0)], "rows", "index.json")), "t")
    assert "<script>" not in page.replace("&lt;script&gt;", "")
    assert page.count("<tr>") == 3
    assert "href" not in page
    assert "\n#" not in describe_worst_slice([cut(HOSTILE, 5.0)], 1.0)


def test_the_terminal_names_the_worst_slice() -> None:
    slices = [cut("a", 5.0), cut("b", 9.0, rows=19), cut("c", 1.0)]
    assert describe_worst_slice(slices, 2.0) == "RMSE 5.00, bias +0.25 where cut a (100 rows)"
    assert describe_worst_slice(slices, 4.5) == "", "chance explains it"
