"""Where and when the flows run, and the command line that starts them."""
