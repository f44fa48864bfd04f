"""The Keras neuron: its process, its metrics, its interval and the description of a version."""
