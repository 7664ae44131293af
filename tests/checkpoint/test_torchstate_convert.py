"""PyTorch's state goes into an optimizer that keeps it in fewer bits, and back, if asked to."""

import numpy as np
import pytest

import gdfast

SIZE = 5_000
GROUP = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0]}


def saved(dtype=np.float32, size=SIZE, **more):
    averages = {"exp_avg": np.linspace(-1, 1, size), "exp_avg_sq": np.linspace(0, 4, size)}
    state = {"step": 3, **{name: array.astype(dtype) for name, array in averages.items()}, **more}
    return {"state": {0: state}, "param_groups": [GROUP]}


@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
def test_float32_state_goes_into_short_state(form):
    opt = gdfast.Adam(np.ones(SIZE, np.float32), state_dtype=form)
    converted = gdfast.load_torch_state(opt, saved(), convert=True)
    assert converted == {"0/exp_avg": f"float32 -> {form}", "0/exp_avg_sq": f"float32 -> {form}"}
    assert opt.step_count == 3
    for name, exact in saved()["state"][0].items():
        if name != "step":
            assert np.allclose(opt.state_value("0", name), exact, rtol=1 / 16, atol=2.0**-10)


def test_state_in_sixteen_bits_goes_into_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (np.float16, ml_dtypes.bfloat16):
        opt = gdfast.Adam(np.ones(SIZE, np.float32))
        converted = gdfast.load_torch_state(opt, saved(dtype), convert=True)
        assert converted == {f"0/{name}": f"{np.dtype(dtype)} -> float32" for name in ("exp_avg", "exp_avg_sq")}
        exact = saved(dtype)["state"][0]["exp_avg"].astype(np.float32)
        assert np.array_equal(opt.state["0"]["exp_avg"], exact)


def test_masters_stay_as_they_are():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype, name in ((ml_dtypes.bfloat16, "remainder"), (np.float16, "master")):
        opt = gdfast.Adam(np.ones(SIZE, dtype))
        opt.step(np.linspace(1, 2, SIZE).astype(np.float32))
        before = opt.state["0"][name].copy()
        assert gdfast.load_torch_state(opt, saved(), convert=True) == {}
        assert np.array_equal(opt.state["0"][name], before)
        own = np.arange(SIZE).astype(before.dtype)
        gdfast.load_torch_state(opt, saved(**{name: own}), convert=True)
        assert np.array_equal(opt.state["0"][name], own)


def test_an_array_that_was_never_stepped_gets_its_first_state():
    opt = gdfast.Adagrad(np.ones(SIZE, np.float32), initial_accumulator_value=0.5, state_dtype="8bit")
    opt.step(np.ones(SIZE, np.float32))
    state = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    assert gdfast.load_torch_state(opt, state, convert=True) == {}
    assert np.all(opt.state_value("0", "sum") == 0.5)


def test_an_average_and_plain_state_come_along():
    opt = gdfast.Adam(np.ones(SIZE, np.float32), state_dtype={"exp_avg": "8bit"}, ema_decay=0.5)
    assert gdfast.load_torch_state(opt, saved(), convert=True) == {"0/exp_avg": "float32 -> 8bit"}
    assert np.array_equal(opt.state["0"]["exp_avg_sq"], saved()["state"][0]["exp_avg_sq"])
    assert np.all(opt.state["0"]["ema"] == 1)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (saved(size=7), "exp_avg.* must have shape|exp_avg.* must have dtype"),
        (saved(np.float64), "exp_avg.* must have dtype"),
        (saved(exp_avg=[1.0]), "exp_avg.* must be a NumPy array"),
        (saved(exp_avg=None), 'lacks "exp_avg"'),
    ],
)
def test_what_does_not_fit_is_refused_all_the_same(state, message):
    opt = gdfast.Adam(np.ones(SIZE, np.float32), state_dtype="8bit")
    with pytest.raises(ValueError, match=message):
        gdfast.load_torch_state(opt, state, convert=True)
    assert opt.step_count == 0


def test_wider_parameters_do_not_take_float32():
    with pytest.raises(ValueError, match="must have dtype float64; got float32"):
        gdfast.load_torch_state(gdfast.Adam(np.ones(SIZE)), saved(), convert=True)


def test_convert_is_a_bool():
    opt = gdfast.Adam(np.ones(SIZE, np.float32))
    with pytest.raises(TypeError, match="convert must be a bool"):
        gdfast.load_torch_state(opt, saved(), convert=1)


def stepped(dtype, **options):
    opt = gdfast.Adam(np.ones(SIZE, dtype), **options)
    opt.step(np.linspace(-1, 1, SIZE).astype(np.float32))
    return opt


def test_short_state_goes_to_pytorch():
    torch = pytest.importorskip("torch")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for opt in (stepped(np.float32, state_dtype="8bit"), stepped(ml_dtypes.bfloat16, state_dtype="bfloat16")):
        with pytest.raises(ValueError, match="convert=True"):
            gdfast.torch_state(opt)
        param = torch.nn.Parameter(torch.ones(SIZE))
        theirs = torch.optim.Adam([param])
        theirs.load_state_dict(gdfast.torch_state(opt, convert=True))
        found = theirs.state[param]
        assert found.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name in ("exp_avg", "exp_avg_sq"):
            assert np.array_equal(found[name].numpy(), opt.state_value("0", name))


def test_tensors_of_bfloat16_are_read():
    torch = pytest.importorskip("torch")
    param = torch.nn.Parameter(torch.ones(SIZE, dtype=torch.bfloat16))
    theirs = torch.optim.Adam([param])
    param.grad = torch.linspace(-1, 1, SIZE).bfloat16()
    theirs.step()
    opt = gdfast.Adam(np.ones(SIZE, np.float32), state_dtype={"exp_avg": "bfloat16"})
    with pytest.raises(ValueError, match="must be arrays of float32 or float64"):
        gdfast.load_torch_state(gdfast.Adam(np.ones(SIZE, np.float32)), theirs.state_dict())
    assert gdfast.load_torch_state(opt, theirs.state_dict(), convert=True) == {"0/exp_avg_sq": "bfloat16 -> float32"}
    for name in ("exp_avg", "exp_avg_sq"):
        assert np.array_equal(opt.state_value("0", name), theirs.state[param][name].float().numpy())
