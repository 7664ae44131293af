"""Subclasses of arrays, lists and dicts that say of themselves what is not so: nothing asks them."""

import re

import numpy as np
import pytest

import gdfast
from arrays import assert_same_bits

ENGINES = ["native", "numpy"]
BIG = 1 << 16


class Liar(np.ndarray):
    shape = property(lambda self: (3,))
    size = property(lambda self: 3)
    nbytes = property(lambda self: 24)
    ndim = property(lambda self: 1)
    strides = property(lambda self: (8,))
    dtype = property(lambda self: np.dtype(np.float64))
    base = property(lambda self: None)

    class Flags:
        c_contiguous = aligned = writeable = True

    flags = property(lambda self: Liar.Flags)

    def __getitem__(self, key):
        raise AssertionError("nobody asks a subclass")

    __setitem__ = __array_ufunc__ = reshape = ravel = view = copy = __len__ = __getitem__


PLAIN = np.ndarray.view


def liar(array):
    return PLAIN(array, Liar)


@pytest.mark.parametrize("engine", ENGINES)
def test_subclasses_are_looked_at_as_plain_arrays(engine):
    memory = np.ones((4, 4))
    for lie, error, match in [
        (liar(memory[:, ::2]), ValueError, "must be C-contiguous"),
        (liar(np.ones(3, np.float32)[:0].view(np.int32)), TypeError, "must be float32 or float64; got int32"),
        (liar(np.broadcast_to(np.ones(1), 3)), ValueError, "must not overlap itself"),
    ]:
        with pytest.raises(error, match=match):
            gdfast.SGD(lie, engine=engine)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="must be writeable"):
        gdfast.SGD(liar(frozen), engine=engine)

    param, grad = np.zeros(5), np.ones(5)
    opt = gdfast.Adam(liar(param), engine=engine, ema_decay=0.9, clip_norm=100.0)
    honest = np.zeros(5)
    expected = gdfast.Adam(honest, ema_decay=0.9, clip_norm=100.0)
    for optimizer, g in ((opt, liar(grad)), (expected, grad)):
        optimizer.step(g)
        optimizer.accumulate(g)
        optimizer.step(g)
        optimizer.step_one("0", g, zero_grad=False) if optimizer.guard.needs_norm is False else optimizer.step(g)
        with optimizer.averaged():
            pass
    assert_same_bits(param, honest)
    assert_same_bits(opt.state["0"], expected.state["0"])
    for short, match in [(liar(np.ones(3)), r"must have the shape of params, \(5,\); got \(3,\)")]:
        with pytest.raises(ValueError, match=match):
            opt.step(short)
    opt.step(liar(grad), zero_grad=True)
    assert not grad.any()
    lent = np.ones(5)
    lent.flags.writeable = False
    with pytest.raises(ValueError, match="must be writeable for zero_grad"):
        opt.step(liar(lent), zero_grad=True)


class Impostor:
    """Not an array at all, though `isinstance` believes it."""

    __class__ = np.ndarray
    shape, size, ndim, nbytes, dtype, strides = (3,), 3, 1, 24, np.dtype(np.float64), (8,)
    flags = Liar.Flags


@pytest.mark.parametrize("engine", ENGINES)
def test_what_only_says_it_is_an_array(engine):
    assert isinstance(Impostor(), np.ndarray)
    with pytest.raises(TypeError, match="params must be a NumPy array"):
        gdfast.SGD(Impostor(), engine=engine)
    opt = gdfast.SGD(np.zeros(3), engine=engine)
    with pytest.raises(TypeError, match="grads must be a NumPy array like params; got Impostor"):
        opt.step(Impostor())
    table = gdfast.SGD(np.zeros((3, 1)), engine=engine)
    for rows in (
        gdfast.Rows(Impostor(), np.zeros((3, 1))),
        gdfast.Rows(np.zeros(1, np.int64), Impostor()),
    ):
        with pytest.raises(TypeError, match="must be a NumPy array"):
            table.step(rows)


class Longer(list):
    """A list that says it has two items, and yields another number."""

    def __init__(self, *items):
        super().__init__(items)

    def __len__(self):
        return 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_that_lies_about_its_length(count, engine):
    opt = gdfast.SGD([np.zeros(2), np.zeros(2)], engine=engine)
    with pytest.raises(ValueError, match=re.escape(f"grads must be 2 arrays, one per parameter; got {count}")):
        opt.step(Longer(*[np.ones(2)] * count))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_structure_whose_keys_are_code(engine):
    params = {"a": np.ones(BIG), "b": np.ones(2)}

    class Sly(dict):
        def __getitem__(self, key):
            if key == "b":
                params["a"].resize(0, refcheck=False)
            return super().__getitem__(key)

    opt = gdfast.SGD(params, engine=engine)
    with pytest.raises(ValueError, match=r'params\["a"\] was resized'):
        opt.step(Sly(a=np.ones(BIG), b=np.ones(2)))
    assert np.all(params["b"] == 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_dict_is_read_once(engine):
    params, grads = ({"w": np.ones((2, 3)), "b": np.ones(4, np.float32)} for _ in range(2))
    opt = gdfast.Adam(params, engine=engine)
    opt.step(grads)
    good = opt.state_dict()
    before = opt.state_dict()

    class Fickle(dict):
        """Something else every time that it is asked."""

        asked = 0

        def items(self):
            self.asked += 1
            return [(key, array if self.asked == 1 else np.zeros(1)) for key, array in super().items()]

        def __getitem__(self, key):
            raise AssertionError("it is read by its items")

    state = {name: Fickle(states) for name, states in good["state"].items()}
    opt.load_state_dict({**good, "state": state})
    assert_same_bits(opt.state, before["state"])
    short = {**good["state"], "b": {**good["state"]["b"], "exp_avg": liar(np.ones(2))}}
    with pytest.raises(ValueError, match="must have dtype float32; got float64"):
        opt.load_state_dict({**good, "state": short})
    assert_same_bits(opt.state, before["state"])


def test_clip_by_global_norm_looks_at_plain_arrays():
    grad = np.full(8, 10.0).view(Liar)
    assert gdfast.clip_by_global_norm([grad], 1.0) == pytest.approx(np.sqrt(800))
    assert gdfast.global_norm(grad) == pytest.approx(1.0)
