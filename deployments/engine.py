"""The program of a run: Prefect's own, in which this project sends the heartbeats: `engine [train] [ADDRESS]`.

With the address of the worker's fork server, a process of that does the run, and this one waits for it. For a run that
trains, another process imports Keras meanwhile.
"""

import runpy
import sys

from linear_neuron.deployments.fork_server import TRAIN, end_as, run_forked


def run(arguments: list[str]) -> None:
    """Do the run that the environment names in this process."""
    from linear_neuron.tasks.process import collect_rarely
    from linear_neuron.tasks.training.training_process import warm_up

    if TRAIN in arguments:
        warm_up()
    collect_rarely()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    sys.argv[1:] = []  # Prefect's program takes an argument for a run.
    sys.modules.pop("prefect.engine", None)  # A fork server has imported it, and runpy would warn of that.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # see steps.send_heartbeats
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for address in [argument for argument in sys.argv[1:] if argument.startswith("/")]:
        if (status := run_forked(address, sys.argv[1:])) is not None:
            end_as(status)
    run(sys.argv[1:])
