"""The model in a notebook, as the README shows it."""

import doctest
import re
from pathlib import Path

import polars as pl
import pytest

from deployments.notebook import Store, load_champion
from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.registry.champion import promote

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_says_what_python_says(trained_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(trained_store.root.path).parent)
    section = README.read_text().partition("## From Python\n")[2].partition("\n## ")[0]
    assert len(section.splitlines()) <= 11, "and its heading"
    (session,) = re.findall(r"```pycon\n(.*?)```", section, re.DOTALL)
    examples = doctest.DocTestParser().get_doctest(session, {}, "README.md", None, 0)
    report: list[str] = []
    assert doctest.DocTestRunner().run(examples, out=report.append).failed == 0, "".join(report)


def test_the_champion_is_loaded_from_the_default_store(neuron: ModelVersion, store: Store) -> None:
    with pytest.raises(UserError, match="has no champion yet"):
        load_champion()
    promote(store, neuron.version, "first")
    champion = load_champion()
    assert champion.model == neuron
    assert champion.predict(pl.DataFrame({"RM": [6]}), interval=50).row(0) == (13.0, 12.5, 13.5, False)
    with pytest.raises(UserError, match="retrain --force"):
        champion.contributions(pl.DataFrame({"RM": [6]}))
