"""Files predicted: which, what is left of them, the expression, and the batch as a whole."""
