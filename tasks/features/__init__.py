"""Terms: how columns of a table become what the neuron multiplies."""
