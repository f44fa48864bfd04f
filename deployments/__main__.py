"""The command line by another name: `python -m deployments`."""

from deployments.cli import main

main()
