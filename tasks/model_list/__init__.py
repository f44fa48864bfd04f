"""Many models in one file: who they are, which are due, and the processes that run them."""
