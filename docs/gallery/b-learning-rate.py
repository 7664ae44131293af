"""Which learning rate?

The sweep of `lr_find`: the loss while the rate grows, and the three suggestions.
"""

from sklearn.datasets import load_digits

from gdfast.sklearn import MLPClassifier

X, y = load_digits(return_X_y=True)
found = MLPClassifier(random_state=0).lr_find(X, y)
figure = found.plot().figure
