"""The Prefect UI as our users' front door, in a real browser."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.champion import read_champion, read_log
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.reporting.histogram import draw_histogram
from linear_neuron.tasks.reporting.page import as_picture
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import CLEAN, COMMAND, LONG, Site, Stack, eventually

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


def test_run_from_the_form_shows_its_plots(page: Page, stack: Stack) -> None:
    open_form(page, stack)
    page.get_by_role("button", name="Add item").first.click()
    page.get_by_role("button", name="Drag to reorder").locator("xpath=..").get_by_role("textbox").fill("LSTAT")
    page.get_by_label("Epochs").fill("20")
    page.get_by_role("button", name="Submit").click()

    page.get_by_role("link", name="View run").click()
    # The run gets its name when it starts. After 20 epochs the version is worse than the mean, so it is refused.
    expect(page.get_by_text("retrain LSTAT custom").first).to_be_visible()
    expect(page.get_by_text("Refused", exact=True).first).to_be_visible()
    open_report(page, stack, "retrain-report")
    expect(page.get_by_text("LSTAT").first).to_be_visible()
    assert all(width > 300 for width in widths_of_pictures(page))

    neuron = read_version(Store(str(stack.store)), list_versions(Store(str(stack.store)))[-1])
    assert neuron.features == ["LSTAT"]
    assert neuron.training["epochs"] == 20

    page.goto(page.url.replace("/v2/", "/"))
    assert all(width > 300 for width in widths_of_pictures(page)), "and in the UI's first version"


def retrain_here(stack: Stack, *arguments: str) -> str:
    """Retrain by the command line, beside the stack, and return the version."""
    command = [*COMMAND, "retrain", "--dataset.source", "package", *arguments]
    done = subprocess.run(command, env=CLEAN, cwd=stack.log.parent, capture_output=True, text=True, check=True)
    assert "not recorded" not in done.stderr
    return done.stdout.splitlines()[-1].rpartition("/")[2]


def test_a_refused_run_says_why_and_links_to_promote(page: Page, stack: Stack) -> None:
    champion = retrain_here(stack)
    subprocess.run([*COMMAND, "promote", champion], env=CLEAN, cwd=stack.log.parent, capture_output=True, check=True)
    refused = retrain_here(stack, "--dataset.features", "RM", "LSTAT", "--training.epochs", "2000")
    page.goto("/v2/runs")
    page.get_by_role("link", name="retrain RM+LSTAT custom").first.click()
    expect(page.get_by_text("Refused", exact=True).first).to_be_visible()
    open_report(page, stack, "retrain-report")
    expect(page.get_by_text("the champion does not read LSTAT").first).to_be_visible()

    page.get_by_role("link", name="Promote it in a form").first.click()
    expect(page.get_by_text(f"{refused} (test RMSE").first).to_be_visible()
    fields = page.get_by_role("group").get_by_role("textbox")
    expect(fields.nth(0)).to_have_value(refused)
    fields.nth(2).fill("Ada <i>")
    page.get_by_role("button", name="Submit").click()
    store = Store(str(stack.store))
    eventually(lambda: (champion := read_champion(store)) and champion.version == refused, "the version serves")
    assert [entry["by"] for entry in read_log(store) if entry["version"] == refused][-1].startswith("Ada <i>")


def test_a_bad_file_is_named_once_and_hides_no_other(page: Page, stack: Stack, tmp_path: Path) -> None:
    champion = retrain_here(stack)
    subprocess.run([*COMMAND, "promote", champion], env=CLEAN, cwd=stack.log.parent, capture_output=True)
    (tmp_path / "bad.csv").write_text("id,ROOMS\n1,6\n")
    (tmp_path / "good.csv").write_text("id,RM\n007,6\n")
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
