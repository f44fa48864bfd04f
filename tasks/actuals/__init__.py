"""What became of the predictions: actuals, how good predictions were, and what the model promised."""
