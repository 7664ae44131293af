"""Whether an installed gdfast works, with NumPy alone: what each wheel is tried with.

`python tests/helpers/smoke.py`, in an environment that has the wheel and from any folder.
"""

import numpy as np

import gdfast


def main() -> None:
    for optimizer in (gdfast.SGD, gdfast.Adagrad, gdfast.RMSprop, gdfast.Adam, gdfast.AdamW, gdfast.Lion):
        for n_threads in (1, 2, 3):
            native, numpy = np.ones(100_000, np.float32), np.ones(100_000, np.float32)
            one, other = optimizer(native, n_threads=n_threads), optimizer(numpy, engine="numpy")
            for step in range(5):
                grad = np.sin(native + step)
                one.step(grad)
                other.step(grad)
            assert native.tobytes() == numpy.tobytes()
            assert native[0] != 1.0
    gdfast.show_config()
    print(gdfast.__file__)


if __name__ == "__main__":
    main()
