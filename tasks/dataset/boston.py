"""The Boston housing dataset as Keras publishes it: address, digest and columns.

Source: `keras.datasets.boston_housing` (https://keras.io/api/datasets/boston_housing/), which also warns of column B.
"""

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/boston_housing.npz"
SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"
FILE = "boston_housing.npz"
NAME = "Boston housing"
TRAIN_SHARE = 0.8
SHUFFLE_SEED = 113

# Column -> what it means, with its unit. The last one is the target of the tutorial.
COLUMNS = {
    "CRIM": "crimes per capita",
    "ZN": "land zoned for large lots [%]",
    "INDUS": "non-retail business land [%]",
    "CHAS": "bounds the Charles River [0 or 1]",
    "NOX": "nitric oxides [parts per 10 million]",
    "RM": "average number of rooms",
    "AGE": "homes built before 1940 [%]",
    "DIS": "distance to employment centres [weighted miles]",
    "RAD": "access to radial highways [index]",
    "TAX": "property tax [$ per $10K]",
    "PTRATIO": "pupils per teacher",
    "B": "column B (see the README's warning)",
    "LSTAT": "lower-status population [%]",
    "MEDV": "median price [$K]",
}
