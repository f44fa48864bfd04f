"""The Prefect UI as our users' front door, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.champion import promote, read_champion, read_log
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.reporting.histogram import draw_histogram
from linear_neuron.tasks.reporting.page import as_picture
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import LONG, Site, Stack, eventually
from tests.helpers import make_version

pytestmark = pytest.mark.usefixtures("silenced")


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    page = browser.new_page(base_url=f"http://127.0.0.1:{stack.port}", viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(1000 * LONG)
    yield page
    page.close()


def open_form(page: Page, stack: Stack) -> None:
    page.goto(f"/v2/deployments/deployment/{stack.api.deployment()['id']}/run")
    expect(page.get_by_text("Passes over the training rows")).to_be_visible()


def open_report(page: Page, stack: Stack, key: str) -> None:
    """Click through from a run to its report, found by its id, since the progress of the run is an artifact too."""
    page.get_by_role("tab", name="Artifacts").click()
    run = page.url.partition("flow-run/")[2][:36]
    (report,) = [artifact["id"] for artifact in stack.api.artifacts(run) if artifact["key"] == key]
    page.get_by_role("link", name=key).click()
    page.locator(f"a[href*='/artifacts/artifact/{report}']").first.click()


def runs_asked_for(stack: Stack) -> set[str]:
    runs = stack.api.ask("POST", "/flow_runs/filter", sort="ID_DESC")
    return {run["id"] for run in runs if not run["auto_scheduled"]}


def widths_of_pictures(page: Page) -> list[int]:
    """The natural width in pixels of every picture of the report, once all are there; 0 is a broken one."""
    pictures = page.locator("img[src^='data:image/png']")
    expect(pictures).to_have_count(5)
    return [
        int(picture.evaluate("async image => (await image.decode(), image.naturalWidth)")) for picture in pictures.all()
    ]


@pytest.fixture(scope="module")
def served(stack: Stack) -> Store:
    """The store of the stack, whose champion reads RM alone."""
    store = Store(str(stack.store))
    promote(store, make_version(store, "20260101T000000Z-aaaaaa").version, "by hand")
    return store


def test_a_run_from_the_form_shows_its_plots_and_is_promoted(page: Page, stack: Stack, served: Store) -> None:
    open_form(page, stack)
    page.get_by_role("button", name="Add item").first.click()
    page.get_by_role("button", name="Drag to reorder").locator("xpath=..").get_by_role("textbox").fill("LSTAT")
    page.get_by_label("Epochs").fill("2000")
    page.get_by_role("button", name="Submit").click()

    page.get_by_role("link", name="View run").click()
    # The run gets its name when it starts.
    expect(page.get_by_text("retrain LSTAT custom").first).to_be_visible()
    expect(page.get_by_text("Refused", exact=True).first).to_be_visible()
    page.goto("/v2/runs")
    page.get_by_role("link", name="retrain LSTAT custom").first.click()
    open_report(page, stack, "retrain-report")
    expect(page.get_by_text("the champion does not read LSTAT").first).to_be_visible()
    assert all(width > 300 for width in widths_of_pictures(page))

    refused = read_version(served, list_versions(served)[-1])
    assert refused.features == ["LSTAT"]
    assert refused.training["epochs"] == 2000

    report = page.url
    page.goto(report.replace("/v2/", "/"))
    assert all(width > 300 for width in widths_of_pictures(page)), "and in the UI's first version"

    page.goto(report)
    page.get_by_role("link", name="Promote it in a form").first.click()
    expect(page.get_by_text(f"{refused.version} (test RMSE").first).to_be_visible()
    fields = page.get_by_role("group").get_by_role("textbox")
    expect(fields.nth(0)).to_have_value(refused.version)
    fields.nth(2).fill("Ada <i>")
    page.get_by_role("button", name="Submit").click()
    eventually(
        lambda: (champion := read_champion(served)) and champion.version == refused.version, "the version serves"
    )
    (entry,) = [entry for entry in read_log(served) if entry["version"] == refused.version][-1:]
    assert entry["by"].startswith("Ada <i>")


def test_a_bad_file_is_named_once_and_hides_no_other(page: Page, stack: Stack, served: Store, tmp_path: Path) -> None:
    assert read_champion(served)
    (tmp_path / "bad.csv").write_text("id,ROOMS\n1,6\n")
    (tmp_path / "good.csv").write_text("id,RM,LSTAT\n007,6,5\n")
    parameters = {"batch": {"inputs": [str(tmp_path)]}}
    run = stack.api.trigger(parameters, "predict/daily-predict")
    stack.api.wait(run, "Failed")
    page.goto(f"/v2/runs/flow-run/{run}")
    expect(page.get_by_text("1 of 2 files can't be predicted").first).to_be_visible()
    open_report(page, stack, "predict-report")
    expect(page.get_by_text("bad.csv").first).to_be_visible()
    expect(page.get_by_text("good.predictions.csv").first).to_be_visible()
    stack.api.wait(stack.api.trigger(parameters, "predict/daily-predict"), "Completed")


def test_a_value_out_of_bounds_shows_an_error_and_starts_nothing(page: Page, stack: Stack) -> None:
    before = runs_asked_for(stack)
    open_form(page, stack)
    epochs = page.get_by_label("Epochs")
    epochs.fill("0")
    page.get_by_role("button", name="Submit").click()
    expect(epochs).to_be_focused()
    assert epochs.evaluate("input => input.validationMessage") == "Value must be greater than or equal to 1."
    assert runs_asked_for(stack) == before


THEIR_PAGE = """<script>
const call = (path, options) =>
  fetch('{url}' + path, {method: 'POST', ...options}).then(answer => answer.status, String)
const body = JSON.stringify({})
Promise.all([
  call('/deployments/{id}/create_flow_run', {body, headers: {'Content-Type': 'application/json'}}),
  call('/deployments/{id}/create_flow_run', {body: new Blob([body]), mode: 'no-cors'}),
  new Promise(done => {
    const socket = new WebSocket('{url}/events/in'.replace('http', 'ws'))
    socket.onopen = () => done('open')
    socket.onerror = () => done('refused')
  }),
]).then(answers => { document.title = answers.join(', ') })
</script>"""


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def test_a_page_of_another_site_starts_no_run(page: Page, stack: Stack, elsewhere: Site) -> None:
    before = runs_asked_for(stack)
    elsewhere.page = THEIR_PAGE.replace("{url}", stack.api.url).replace("{id}", stack.api.deployment()["id"])
    page.goto(elsewhere.url)
    # A page may not see the answer: with no-cors, the refusal has status 0.
    expect(page).to_have_title("TypeError: Failed to fetch, 0, refused")
    assert runs_asked_for(stack) == before


@pytest.mark.parametrize("version", ["/v2", ""])
def test_the_pages_and_reports_load_nothing_from_elsewhere(
    page: Page, stack: Stack, elsewhere: Site, version: str
) -> None:
    picture = f"Some text.\n\n![a picture]({elsewhere.url}picture.png)\n"
    artifact = stack.api.ask("POST", "/artifacts/", key="foreign", type="markdown", data=picture)
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url))
    page.goto(f"{version}/dashboard")
    expect(page.get_by_text("Flow runs", exact=False).first).to_be_visible()
    page.goto(f"{version}/artifacts/artifact/{artifact['id']}")
    expect(page.get_by_text("Some text.").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert elsewhere.asked == []
    ours = (f"http://127.0.0.1:{stack.port}/", "data:", "blob:")
    assert [url for url in asked if not url.startswith(ours)] == []


@pytest.mark.parametrize("version", ["/v2", ""])
def test_the_histogram_of_a_batch_is_a_picture(page: Page, stack: Stack, neuron: ModelVersion, version: str) -> None:
    picture = as_picture("Histogram", draw_histogram(neuron, [1, 2, 3, 4, 5]), "svg+xml")
    artifact = stack.api.ask("POST", "/artifacts/", key="histogram", type="markdown", data=picture)
    page.goto(f"{version}/artifacts/artifact/{artifact['id']}")
    shown = page.locator("img[src^='data:image/svg']")
    assert shown.evaluate("async image => (await image.decode(), image.naturalWidth)") == 800
