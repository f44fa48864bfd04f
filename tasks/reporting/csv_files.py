"""The two prediction files of a version: the test rows, and a small table to look at."""

import numpy as np
import pandas as pd

from tasks.dataset.rows import Floats, Split
from tasks.parameters import ExampleInputs
from tasks.registry.versions import NewVersion
from tasks.steps import task
from tasks.training.results import TrainingResult


def predict_test(split: Split, trained: TrainingResult) -> pd.DataFrame:
    """A row a test row: its number in the original file, features, actual, predicted and residual (actual less it)."""
    rows = split.test
    frame = pd.DataFrame({"row": rows.number})
    for location, name in enumerate(split.features):
        frame[name] = rows.x[:, location]
    predicted = trained.linear_model.predict(rows.x)
    frame["actual"], frame["predicted"], frame["residual"] = rows.y, predicted, rows.y - predicted
    return frame


def table_values(split: Split, table: ExampleInputs) -> Floats:
    """The values to predict for, shape (n, features): the first feature's vary, the others stand at their mean."""
    values = np.array(table.values)
    if not len(values):
        first = split.train.x[:, 0]
        values = np.arange(3.0, 8.0) if split.features[0] == "RM" else np.linspace(first.min(), first.max(), 5)
    x = np.tile(split.train.x.mean(axis=0), (len(values), 1))
    x[:, 0] = values
    return x


def predict_table(split: Split, trained: TrainingResult, table: ExampleInputs) -> pd.DataFrame:
    """A row a value: the features and the predicted target."""
    x = table_values(split, table)
    frame = pd.DataFrame(x, columns=list(split.features))
    frame["predicted"] = trained.linear_model.predict(x)
    return frame


@task("Write the predictions")
def write_predictions(
    split: Split, trained: TrainingResult, table: ExampleInputs, draft: NewVersion
) -> list[dict[str, float]]:
    """Writes `predictions_test.csv`, `predictions_table.csv` and `history.csv`; returns the table's rows.

    A float32 is written in the fewest digits that read back as the same float32.
    """
    predict_test(split, trained).to_csv(draft.folder / "predictions_test.csv", index=False)
    small = predict_table(split, trained, table)
    small.to_csv(draft.folder / "predictions_table.csv", index=False)
    epochs = range(1, len(trained.loss) + 1)
    history = pd.DataFrame({"epoch": epochs, "loss": trained.loss})
    history["val_loss"] = trained.val_loss if trained.val_loss else None
    history.to_csv(draft.folder / "history.csv", index=False)
    return [{str(name): float(value) for name, value in row.items()} for row in small.to_dict("records")]
