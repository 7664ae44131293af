"""Promise 2: your own memory is updated, or an error names what is wrong before any write."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdfast
from arrays import assert_same_bits, snapshot

ENGINES = ["native", "numpy"]


def misaligned(size=4):
    return np.zeros(8 * size + 1, np.uint8)[1:].view(np.float64)


def sliding(size=4):
    room = np.zeros(2 * size)
    return np.lib.stride_tricks.as_strided(room, (size, size), (8, 8), writeable=True)


def read_only():
    array = np.zeros(4)
    array.flags.writeable = False
    return array


BAD_PARAMS = {
    "list": ([1.0, 2.0], TypeError, r"params\[0\] must be a NumPy array, or a list, tuple or dict of them; got float"),
    "number": (3.0, TypeError, "params must be a NumPy array"),
    "none": (None, TypeError, "params must be a NumPy array"),
    "integers": (np.zeros(4, np.int64), TypeError, r"params must be float32 or float64; got int64\. Pass"),
    "long double": (np.zeros(4, np.longdouble), TypeError, "must be float32 or float64; got "),
    "complex": (np.zeros(4, complex), TypeError, "must be float32 or float64; got complex128"),
    "objects": (np.zeros(4, object), TypeError, "got an array of Python objects"),
    "byte order": (np.zeros(4, np.dtype(np.float32).newbyteorder()), TypeError, "native byte order.*got dtype >f4"),
    "masked": (np.ma.zeros(4), TypeError, "got a masked array"),
    "view": (np.zeros((4, 4))[:, ::2], ValueError, r"C-contiguous to be updated in place; got strides \(32, 16\) for"),
    "transposed": (np.zeros((4, 3)).T, ValueError, "C-contiguous"),
    "read-only": (read_only(), ValueError, "writeable.*read-only"),
    "misaligned": (misaligned(), ValueError, "aligned to 8 bytes"),
    "broadcast": (np.broadcast_to(np.zeros(1), (4,)), ValueError, "must not overlap itself"),
    "sliding": (sliding(), ValueError, "must not overlap itself"),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_params(name):
    params, error, message = BAD_PARAMS[name]
    with pytest.raises(error, match=message):
        gdfast.Adam(params)


def test_error_names_the_path():
    with pytest.raises(ValueError, match=re.escape('params["layer1"]["W"] must be C-contiguous')) as caught:
        gdfast.SGD({"layer1": {"W": np.zeros((4, 4))[:, :2]}})
    assert "Pass np.ascontiguousarray(W)" in str(caught.value)
    with pytest.raises(TypeError, match=re.escape('params[1]["params"][0] must be float32')):
        gdfast.SGD([{"params": [np.zeros(2)]}, {"params": [np.zeros(2, int)]}])


def test_nested_too_deeply():
    cyclic, deep = [], np.zeros(2)
    cyclic.append(cyclic)
    for _ in range(100_000):
        deep = [deep]
    for params in (cyclic, deep):
        with pytest.raises(ValueError, match=r"^params must not be nested so deeply, nor contain itself$"):
            gdfast.Adam(params)


def test_overlapping_params():
    room = np.zeros(10)
    with pytest.raises(ValueError, match=r"params\[0\] and params\[1\] must not share memory"):
        gdfast.SGD([room[:6], room[5:]])
    with pytest.raises(ValueError, match=r'params\["a"\] and params\["b"\] must not share memory'):
        gdfast.SGD({"a": room, "b": room})
    gdfast.SGD([room[:5], room[5:], room[:0]])  # neighbours, and an empty one, are fine


def test_same_name_twice():
    with pytest.raises(ValueError, match=r'params\["a"\]\["b"\] and params\["a.b"\] must not both be named .a\.b.'):
        gdfast.SGD({"a": {"b": np.zeros(1)}, "a.b": np.zeros(1)})


def structure():
    rng = np.random.default_rng(0)
    shapes = {"layer1": {"W": (3, 4), "b": (4,)}, "layer2": {"W": (4, 2), "b": (2,)}}
    make = {name: {key: rng.standard_normal(s) for key, s in layer.items()} for name, layer in shapes.items()}
    return make


def bad_grads(params):
    """Name -> (gradients, error, message); `params` is what they are for."""
    good = structure()

    def at(value, layer="layer2", key="W"):
        return {**good, layer: {**good[layer], key: value}}

    frozen = np.zeros((4, 4))
    return {
        "missing": ({"layer1": good["layer1"]}, ValueError, 'grads must have the keys.*missing: "layer2"'),
        "unexpected": ({**good, "layer3": {}}, ValueError, 'unexpected: "layer3"'),
        "deep": ({**good, "layer1": {"W": good["layer1"]["W"]}}, ValueError, r'grads\["layer1"\] must have.*: "b"'),
        "kind": ([1, 2], TypeError, "grads must be a dict like the parameters; got list"),
        "leaf": (at(None), TypeError, r'grads\["layer2"\]\["W"\] must be a NumPy array like params.*got NoneType'),
        "dtype": (at(np.zeros((4, 2), np.float32)), TypeError, "must have the dtype of .*, float64; got float32"),
        "shape": (at(np.zeros((2, 4))), ValueError, r"must have the shape of .*, \(4, 2\); got \(2, 4\)"),
        "scalar shape": (at(np.zeros(())), ValueError, r"must have the shape"),
        "view": (at(frozen[:, :2]), ValueError, r"C-contiguous to be read in place"),
        "fortran": (at(np.zeros((2, 4)).T), ValueError, r"C-contiguous to be read in place"),
        "masked": (at(np.ma.zeros((4, 2))), TypeError, "masked array"),
        "objects": (at(np.zeros((4, 2), object)), TypeError, "Python objects"),
        "swapped": (at(np.zeros((4, 2), ">f8" if np.little_endian else "<f8")), TypeError, "native byte order"),
        "misaligned": (at(misaligned(8).reshape(4, 2)), ValueError, "aligned"),
        "broadcast": (at(np.broadcast_to(np.ones(2), (4, 2))), ValueError, "overlap itself"),
        "parameter": (at(params["layer2"]["W"]), ValueError, r'must not share memory with params\["layer2"\]\["W"\]'),
        "other": (at(params["layer1"]["W"].reshape(6, 2)[:4]), ValueError, r'memory with params\["layer1"\]\["W"\]'),
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", bad_grads(structure()))
def test_bad_grads_change_nothing(name, engine):
    params = structure()
    opt = gdfast.Adam(params, engine=engine, weight_decay=0.1)
    opt.step(structure())
    flat = [array for layer in params.values() for array in layer.values()]
    before = snapshot(opt, flat)
    grads, error, message = bad_grads(params)[name]
    with pytest.raises(error, match=message):
        opt.step(grads)
    assert snapshot(opt, flat) == before
    opt.step(structure())  # and it goes on working
    assert opt.step_count == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_gradient_in_the_state(engine):
    param = np.zeros(4)
    opt = gdfast.Adam(param, engine=engine)
    with pytest.raises(ValueError, match=re.escape('must not share memory with opt.state["0"]["exp_avg_sq"]')):
        opt.step(opt.state["0"]["exp_avg_sq"])


@pytest.mark.parametrize("engine", ENGINES)
def test_list_of_wrong_length(engine):
    opt = gdfast.SGD([np.zeros(2), np.zeros(3)], engine=engine)
    with pytest.raises(ValueError, match="grads must have 2 items like the parameters; got 1"):
        opt.step([np.zeros(2)])
    with pytest.raises(TypeError, match="grads must be a list or tuple like the parameters; got ndarray"):
        opt.step(np.zeros(2))
    opt = gdfast.SGD(np.zeros(2), engine=engine)
    with pytest.raises(TypeError, match="grads must be a NumPy array like params; got list"):
        opt.step([np.zeros(2)])
    with pytest.raises(TypeError, match="step needs grads"):
        opt.step()


@pytest.mark.parametrize("engine", ENGINES)
def test_param_changed_after_binding(engine):
    param = np.zeros(8)
    opt = gdfast.SGD(param, engine=engine)
    param.flags.writeable = False
    with pytest.raises(ValueError, match="made read-only"):
        opt.step(np.ones(8))
    param.flags.writeable = True
    param.resize(100_000, refcheck=False)
    with pytest.raises(ValueError, match="params was resized after the optimizer was made"):
        opt.step(np.ones(8))


@pytest.mark.parametrize("engine", ENGINES)
def test_memmap_is_updated_in_place(engine, tmp_path):
    param = np.memmap(tmp_path / "p", np.float32, "w+", shape=(10,))
    grad = np.memmap(tmp_path / "g", np.float32, "w+", shape=(10,))
    grad[:] = 2
    gdfast.SGD(param, lr=0.5, engine=engine).step(grad)
    assert np.fromfile(tmp_path / "p", np.float32).tolist() == [-1.0] * 10


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_and_zero_dimensional(engine):
    params = {"scalar": np.array(1.0), "empty": np.zeros((3, 0)), "none": {}}
    opt = gdfast.SGD(params, lr=0.5, engine=engine)
    opt.step({"scalar": np.array(1.0), "empty": np.zeros((3, 0)), "none": {}})
    assert params["scalar"] == 0.5
    gdfast.SGD([], engine=engine).step([])


@pytest.mark.parametrize("engine", ENGINES)
def test_bound_buffers(engine):
    params, grads = [np.zeros(3), np.zeros(2)], [np.ones(3), np.ones(2)]
    opt = gdfast.SGD(params, lr=1.0, grads=grads, engine=engine)
    opt.step()
    grads[0][:] = 5
    opt.step()
    assert params[0].tolist() == [-6.0] * 3
    opt.step([np.ones(3), np.ones(2)])  # others may still be given
    assert params[1].tolist() == [-3.0] * 2
    with pytest.raises(ValueError, match="bound gradient buffers"):
        opt.add_param_group({"params": np.zeros(1)})
    with pytest.raises(ValueError, match=r"grads\[1\] must have the shape"):
        gdfast.SGD(params, grads=[np.zeros(3), np.zeros(3)], engine=engine)


def test_bound_list_may_be_changed_by_its_owner():
    params, grads = [np.zeros(3)], [np.ones(3)]
    opt = gdfast.SGD(params, lr=1.0, grads=grads)
    grads[0] = None
    opt.step()
    assert params[0].tolist() == [-1.0] * 3


shapes = st.recursive(
    st.tuples(st.integers(0, 3), st.integers(1, 4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


def build(shape, rng):
    if isinstance(shape, tuple):
        return rng.standard_normal(shape)
    if isinstance(shape, dict):
        return {key: build(value, rng) for key, value in shape.items()}
    return [build(value, rng) for value in shape]


def leaves(tree):
    if isinstance(tree, np.ndarray):
        return [tree]
    return [leaf for child in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(child)]


def reordered(tree):
    """The same structure with every dict in the other order, and tuples instead of lists."""
    if isinstance(tree, dict):
        return {key: reordered(tree[key]) for key in reversed(tree)}
    return tree if isinstance(tree, np.ndarray) else tuple(map(reordered, tree))


@given(shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_any_structure_steps_like_its_arrays_alone(shape, seed):
    rng = np.random.default_rng(seed)
    params, grads = build(shape, rng), build(shape, rng)
    alone = [leaf.copy() for leaf in leaves(params)]
    opt = gdfast.RMSprop(params, momentum=0.9)
    for _ in range(3):
        opt.step(reordered(grads))
    for param, grad in zip(alone, leaves(grads), strict=True):
        single = gdfast.RMSprop(param, momentum=0.9)
        for _ in range(3):
            single.step(grad)
    assert_same_bits(leaves(params), alone)
    assert len(opt.state) == len(alone)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(-3, 3).filter(bool),
    st.integers(-3, 3).filter(bool),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_view_is_updated_whole_or_refused(rows, columns, row_step, column_step, transpose, give_grad):
    """Whatever view: afterwards it holds the step's result, or nothing at all has changed."""
    base = np.arange(400.0).reshape(20, 20)
    view = base[10 : 10 + rows * row_step : row_step, 10 : 10 + columns * column_step : column_step]
    view = view.T if transpose else view
    other = np.full(view.shape, 2.0)
    before, expected = base.copy(), view - (view if give_grad else other)
    try:
        if give_grad:
            param = view.copy()
            gdfast.SGD(param, lr=1.0).step(view)
        else:
            param = view
            gdfast.SGD(param, lr=1.0).step(other)
    except ValueError:
        assert not view.flags.c_contiguous
        assert_same_bits(base, before)
    else:
        assert view.flags.c_contiguous
        assert_same_bits(np.ascontiguousarray(param), expected)
