"""The program of a run that trains: Prefect's own, which imports Prefect while another process imports Keras."""

import runpy

from linear_neuron.tasks.training.training_process import warm_up

if __name__ == "__main__":
    warm_up()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
