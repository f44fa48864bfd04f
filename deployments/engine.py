"""The program of a run: Prefect's own, in which this project sends the heartbeats.

For a run that trains, another process imports Keras while this one imports Prefect: `engine train`.
"""

import runpy
import sys

from linear_neuron.tasks.process import collect_rarely
from linear_neuron.tasks.training.training_process import warm_up

if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        warm_up()
        del sys.argv[1]  # Prefect's program takes it for a run.
    collect_rarely()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # see steps.send_heartbeats
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
