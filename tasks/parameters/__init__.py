"""Every parameter, declared once: the form in the Prefect UI, the flags of the command line, and the validation."""

from tasks.parameters.actuals import Actuals
from tasks.parameters.backtest import Period
from tasks.parameters.base import Parameters
from tasks.parameters.predict import Batch
from tasks.parameters.retrain import Dataset, ExampleInputs, Promotion, Retention, Training

__all__ = ["Actuals", "Batch", "Dataset", "ExampleInputs", "Parameters", "Period", "Promotion", "Retention", "Training"]
