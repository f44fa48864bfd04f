"""The columns that the neuron reads."""

from tasks.parameters import Dataset
from tasks.steps import step
from tasks.values import Rows, Split


def select_columns(split: Split, features: list[str], target: str) -> Split:
    """The same rows with `x` cut down to the named features, shape (n, features), and `y` to the target."""
    places = [split.features.index(name) for name in features]
    aim = split.features.index(target)

    def narrow(rows: Rows) -> Rows:
        return Rows(x=rows.x[:, places], y=rows.x[:, aim], number=rows.number)

    return Split(tuple(features), target, narrow(split.train), narrow(split.validation), narrow(split.test))


@step("Extract the features")
def extract_features(split: Split, dataset: Dataset) -> Split:
    """Picks the chosen features and target by name."""
    return select_columns(split, dataset.features, dataset.target)
