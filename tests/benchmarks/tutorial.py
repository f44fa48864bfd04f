"""The tutorial as a bare script, the yardstick of the benchmarks. Arguments: the dataset, a folder for the plots."""

import sys

import keras
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

keras.utils.set_random_seed(42)
with np.load(sys.argv[1]) as arrays:
    x, y = arrays["x"], arrays["y"]
order = np.arange(len(x))
np.random.RandomState(113).shuffle(order)
x_train, y_train = x[order[:404], 5], y[order[:404]]
x_test, y_test = x[order[404:], 5], y[order[404:]]

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.RMSprop(learning_rate=0.005), loss="mse")
history = model.fit(x_train, y_train, batch_size=16, epochs=101, validation_split=0.3, verbose=0).history

plt.figure(figsize=(15, 5))
plt.scatter(x_train, y_train, color="green", alpha=0.5)
plt.savefig(f"{sys.argv[2]}/feature.png")
plt.figure(figsize=(20, 5))
plt.plot(history["loss"], "g", label="Training Loss")
plt.plot(history["val_loss"], "b", label="Validation Loss")
plt.legend()
plt.savefig(f"{sys.argv[2]}/loss.png")
line = np.linspace(3, 9, 10)
predicted = model.predict(line, verbose=0)
for name, features, prices in (("train", x_train, y_train), ("test", x_test, y_test)):
    plt.figure(figsize=(15, 5))
    plt.scatter(features, prices, color="green", alpha=0.5)
    plt.plot(line, predicted, color="k")
    plt.savefig(f"{sys.argv[2]}/fit_{name}.png")
rooms = np.array([3, 4, 5, 6, 7])
for count, price in zip(rooms, model.predict(rooms, verbose=0)[:, 0], strict=True):
    sys.stdout.write(f"Predicted price of a home with {count} rooms: ${price:.1f}K\n")
