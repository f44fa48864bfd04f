"""The three tables of a version: predictions of the test rows, those of the examples, and the history of the loss."""

from pathlib import Path

import pandas as pd

from tasks.dataset.rows import Split
from tasks.training.results import Evaluation


def write_csv_files(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Write `predictions_test.csv`, `predictions_table.csv` and `history.csv`.

    A float32 is written in the fewest digits that read back as the same float32.
    """
    tabulate_test(split, evaluation).to_csv(folder / "predictions_test.csv", index=False)
    tabulate_examples(split, evaluation).to_csv(folder / "predictions_table.csv", index=False)
    result = evaluation.result
    history = pd.DataFrame({"epoch": range(1, len(result.loss) + 1), "loss": result.loss})
    history["val_loss"] = result.val_loss or None
    history.to_csv(folder / "history.csv", index=False)


def tabulate_test(split: Split, evaluation: Evaluation) -> pd.DataFrame:
    """Make a row for each test row: its number, features, actual, predicted, and residual (actual less predicted)."""
    rows, predicted = split.test, evaluation.predicted["test"]
    frame = pd.DataFrame(rows.x, columns=split.names)
    frame.insert(0, "row", rows.number)
    frame["actual"], frame["predicted"], frame["residual"] = rows.y, predicted, rows.y - predicted
    return frame


def tabulate_examples(split: Split, evaluation: Evaluation) -> pd.DataFrame:
    """Make a row for each example: the features and the predicted target."""
    frame = pd.DataFrame(evaluation.examples, columns=split.names)
    frame["predicted"] = evaluation.predicted["examples"]
    return frame
