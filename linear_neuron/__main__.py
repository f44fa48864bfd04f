"""The command line by another name: `python -m linear_neuron`."""

from linear_neuron.deployments.cli import main

main()
