"""The pictures of docs/reports.md: `python -m tests.benchmarks.reports [TABLE ...]`.

Each table is trained on by one command, and what a browser shows of the report is kept: the sections that say how good
the model is, what the rows say of the fit, and what would help.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.benchmarks.tables import KEY, TABLES, read_table, run
from tests.example import MONTHS, write_months

FOLDER = Path(__file__).parents[2] / "docs" / "images"
NAMES = ("diamonds", "ames", "SaratogaHouses", "sales")
SECTIONS = ["How good it is", "How much of the past", "What the rows say of the fit", "What would help"]
WIDTH = 1200  # pixels
# Hides all other sections; what is above the first heading stays.
HIDE = """sections => { let shown = true; for (const part of document.body.children) {
  if (part.tagName === 'H2') shown = sections.includes(part.textContent);
  if (!shown) part.style.display = 'none'; } }"""


def train(name: str, folder: Path) -> Path:
    """Train on a table, and return the page of its report."""
    store = folder / "store"
    if name == "sales":
        write_months(folder, MONTHS)
        words = ["--dataset.source", str(folder / name), "--dataset.features", "area", "--dataset.time", "sold_on"]
        target = "price"
    else:
        (table,) = (table for table in TABLES if table.name == name)
        read_table(table).to_csv(folder / f"{name}.csv", index=False)
        words, target = ["--dataset.source", str(folder / f"{name}.csv"), "--dataset.key", KEY], table.target
    version: str = run("retrain", *words, "--dataset.target", target, store=store)["version"]
    return store / "models" / version / "report.html"


def photograph(page: Path, picture: Path) -> None:
    """Keep what a browser shows of a report as a PNG of a few colors."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(args=["--no-sandbox"], executable_path=shutil.which("chromium"))
        view = browser.new_page(viewport={"width": WIDTH, "height": 800})
        view.goto(page.as_uri())
        view.evaluate(HIDE, SECTIONS)
        view.screenshot(path=str(picture), full_page=True)
        browser.close()
    with Image.open(picture) as image:
        image.convert("RGB").quantize(96).save(picture, optimize=True)


def main(names: list[str]) -> None:
    """Make the pictures of some tables, or else of all."""
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            photograph(train(name, Path(folder)), FOLDER / f"report_{name.lower()}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
