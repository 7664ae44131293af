"""Four surfaces

SGD, momentum, RMSprop and Adam over a ravine, a saddle, Rosenbrock's valley and Beale's function.
"""

from gdfast import plot

figure = plot.gallery()
