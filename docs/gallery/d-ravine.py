"""Four optimizers in a ravine

The curvature across the ravine is 40 times that along it.
"""

from gdfast import plot

plot.animate("d-ravine.gif", "ravine", steps=45)
