"""Every parameter, declared once: the form in the Prefect UI, the flags of the command line, and the validation."""

from linear_neuron.tasks.parameters.base import Parameters
from linear_neuron.tasks.parameters.predict_parameters import Actuals, Batch
from linear_neuron.tasks.parameters.retrain_parameters import (
    Dataset,
    ExampleInputs,
    Period,
    Promotion,
    Retention,
    Training,
)

__all__ = ["Actuals", "Batch", "Dataset", "ExampleInputs", "Parameters", "Period", "Promotion", "Retention", "Training"]
