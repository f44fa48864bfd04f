"""A page shows names as text, and runs and loads nothing."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from linear_neuron.tasks.reporting.backtest_report import write_markdown
from linear_neuron.tasks.reporting.page import render_page
from tests.deployments.conftest import browser  # noqa: F401, a fixture

HOSTILE = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def write_backtest(name: str) -> str:
    """Write the page of a backtest whose every text is a name."""
    step = {"from": "2026-01-01", "to": "2026-02-01", "rows": 2, "known_rows": 3, "held_90": None}
    step |= {f"{model}_mse": 1.0 for model in ("neuron", "mean", "least_squares")}
    manifest = {
        "dataset": {"target": name, "features": [name], "source": name},
        "mse": {"neuron": 1.0, "mean": 2.0, "least_squares": 1.0},
        "steps": [step],
        **{part: {name: name} for part in ("period", "training", "source", "lineage")},
    }
    return render_page(write_markdown(manifest, ""), name)


def test_no_name_becomes_a_tag() -> None:
    page = write_backtest(HOSTILE)
    assert not {tag for tag, _ in Tags(page).found} & {"img", "script"}
    assert render_page(HOSTILE, "title").count("<script") == 0, "nor where nobody escaped it"


def test_a_page_forbids_scripts_and_addresses() -> None:
    (policy,) = [attrs["content"] for tag, attrs in Tags(render_page("# x", "t")).found if "http-equiv" in attrs]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")


@pytest.mark.slow
def test_a_browser_runs_no_script_of_a_name(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "a.html").write_text(write_backtest(HOSTILE))
    walled = render_page("# x", "calm").replace("<h1>x</h1>", "<script>document.title='run'</script>")
    (tmp_path / "b.html").write_text(walled)
    context = request.getfixturevalue("browser").new_context()
    tab = context.new_page()
    for name, title in (("a.html", HOSTILE), ("b.html", "calm")):
        tab.goto((tmp_path / name).as_uri())
        tab.wait_for_timeout(300)
        assert tab.title() == " ".join(title.split())
    context.close()
