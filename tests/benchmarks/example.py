"""The example of docs/own-tables.md over all its months, and its figure: `python -m tests.benchmarks.example [PNG]`.

Each month the champion of the months before predicts the new rows, before anything is learned from them; so does the
very first version, as if nobody had trained again.
"""

import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from linear_neuron.tasks.parameters import Batch, Dataset
from tests.example import DATASET, MONTHS, list_months, measure_error, true_slope, write_months

FIRST = 3  # months that the first training learns from
FIGURE = Path(__file__).parents[2] / "docs" / "images" / "example.png"


class Month(NamedTuple):
    """A month, and what was predicted for it."""

    name: str
    true_slope: float
    slope: float  # of the champion that predicted it
    error: float  # of that champion, as a root mean squared error
    first_error: float  # of the version that was the first


def follow(folder: Path) -> list[Month]:
    """Live through the months in a folder."""
    from linear_neuron.flows.predict import predict
    from linear_neuron.flows.retrain import retrain
    from linear_neuron.tasks.registry.champion import read_champion
    from linear_neuron.tasks.registry.versions import read_version
    from linear_neuron.tasks.storage.store import Store

    def train(count: int) -> str:
        write_months(folder, count)
        retrain.fn(dataset)
        champion = read_champion(store)
        assert champion is not None
        return champion.version

    store = Store(str(folder / "store"))
    dataset = Dataset.model_validate(DATASET | {"source": str(folder / "sales")})
    champions, months = [train(FIRST)], []
    for number in range(FIRST + 1, MONTHS + 1):
        write_months(folder, number)
        file = list_months(folder)[-1]
        errors = [
            measure_error(Path(predict.fn(Batch(inputs=[str(file)], model=version)), f"{file.stem}.predictions.csv"))
            for version in (champions[-1], champions[0])
        ]
        slope = read_version(store, champions[-1]).weights[0]
        months.append(Month(file.stem, true_slope(number), slope, *errors))
        champions.append(train(number))
        news = "stays" if champions[-1] == champions[-2] else "changes"
        print(months[-1].name, *(f"{figure:7.2f}" for figure in months[-1][1:]), f"the champion {news}")  # noqa: T201
    changes = sum(before != after for before, after in pairwise(champions))
    print(f"The champion changed {changes} times in {len(months)} trainings.")  # noqa: T201
    return months


def draw(months: list[Month], path: Path) -> None:
    """Draw slopes above and errors below, month by month."""
    from linear_neuron.tasks.reporting.plots import BLUE, INK, ORANGE, open_figure

    names = [month.name[2:] for month in months]
    with open_figure(path, "A table that changes: price per square metre", height=6.6) as axes:
        axes.set_axis_off()
        spec = axes.get_subplotspec()
        assert spec is not None
        above, below = spec.subgridspec(2, 1, hspace=0.25).subplots(sharex=True, squeeze=False)[:, 0]
        above.plot(names, [month.true_slope for month in months], color=INK, drawstyle="steps-mid", label="true")
        above.plot(names, [month.slope for month in months], color=BLUE, marker="o", label="champion that predicted")
        above.set(ylabel="Slope")
        below.plot(
            names, [month.first_error for month in months], color=ORANGE, marker="^", label="never trained again"
        )
        below.plot(names, [month.error for month in months], color=BLUE, marker="o", label="last month's champion")
        below.set(ylabel="RMSE on the new month")
        below.set_ylim(bottom=0)
        below.tick_params(axis="x", labelsize=10, rotation=45)
        for panel in (above, below):
            panel.legend(loc="upper left")


def main(path: Path) -> None:
    """Print the months, and draw them."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LINEAR_NEURON_STORE"] = f"{scratch}/store"
        draw(follow(Path(scratch)), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURE)
