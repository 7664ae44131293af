"""Losses of two trainings

The losses of fitted estimators, or of logs that a callback has written, in one picture.
"""

from sklearn.datasets import load_digits

from gdfast import plot
from gdfast.sklearn import MLPClassifier

X, y = load_digits(return_X_y=True)
models = {
    "Adam": MLPClassifier(max_iter=20, tol=None, random_state=0),
    "SGD": MLPClassifier(optimizer="sgd", max_iter=20, tol=None, random_state=0),
}
axes = plot.losses({name: model.fit(X, y) for name, model in models.items()})
figure = axes.figure
