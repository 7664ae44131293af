"""`gdfast.torch` with what lies in fewer bits: the bits of the NumPy optimizers, checkpoints, and what is refused."""

import copy
import inspect
import io
import pickle
import subprocess
import sys

import pytest
from torch_cases import CASES, TorchCase, torch

import gdfast
import gdfast.torch
from arrays import assert_same_bits
from gdfast.torch import extra_optimizers

ml_dtypes = pytest.importorskip("ml_dtypes")
nn = torch.nn
SHAPES = [(70, 60), (), (5,), (2, 0), (129,)]
EXTRAS = [TorchCase(name.lower(), name, {"lr": 0.01}) for name in extra_optimizers.__all__]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
#: how something can lie in fewer bits
WAYS = {
    "split": ("bfloat16", {}),
    "split, 8bit": ("bfloat16", {"state_dtype": "8bit", "state_dtype_min_size": 0, "seed": 7}),
    "float32 master": ("bfloat16", {"master": "float32"}),
    "stochastic": ("bfloat16", {"master": None, "seed": 2**32 - 1}),
    "stochastic, bfloat16": ("bfloat16", {"master": None, "state_dtype": "bfloat16", "state_dtype_min_size": 0}),
    "nearest": ("bfloat16", {"master": None, "rounding": "nearest"}),
    "float16": ("float16", {}),
    "float16, 8bit": ("float16", {"state_dtype": "8bit", "state_dtype_min_size": 0}),
    "float16 alone": ("float16", {"master": None, "rounding": "nearest"}),
    "float32, 8bit": ("float32", {"state_dtype": "8bit", "state_dtype_min_size": 0, "seed": 3}),
    "float32, bfloat16": ("float32", {"state_dtype": "bfloat16"}),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


def array_of(tensor):
    """Return a copy of a tensor as an array, of ml_dtypes.bfloat16 where it is bfloat16."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()


def parameters(dtype, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def set_grads(params, step, dtype=None):
    """Set gradients, of any dtype, and return them as arrays."""
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        param.grad = None
        param.grad_dtype = dtype or param.dtype
        param.grad = torch.randn(param.shape, generator=generator).to(dtype or param.dtype)
    return [array_of(param.grad) for param in params]


def optimizer_of(case, way, params, **more):
    """Return an optimizer, or None where the rule has no state that can be so short."""
    try:
        return case.ours(params, **{**WAYS[way][1], **more})
    except ValueError as error:
        assert "none of its states" in str(error)  # noqa: PT017
        return None


def twin(opt, arrays, way, **more):
    """Return gdfast's own optimizer of the same rule."""
    group, rule = opt.param_groups[0], opt.rule
    owner = rule.owner_of(group)
    names = [name for name in inspect.signature(owner).parameters if name in group and name != "params"]
    options = {**rule.fixed, **{name: group[name] for name in names}, "maximize": group["maximize"]}
    return owner(arrays, l1=group.get("l1", 0.0), **options, **WAYS[way][1], **more)


def same_state(opt, params, reference):
    """Compare the state in fewer bits with that of gdfast's own optimizer."""
    for i, param in enumerate(params):
        for name, array in reference.state[str(i)].items():
            own = opt.state[param]
            tensor = own[name] if name in own else own[f"{name}.codes"]
            assert_same_bits(array_of(tensor).view(array.dtype), array, f"{name} of {i}")


@EACH_WAY
@pytest.mark.parametrize("case", CASES + EXTRAS, ids=str)
def test_the_bits_are_those_of_gdfast(case, way):
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params)
    if opt is None:
        return
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way)
    for step in range(8):
        reference.step(set_grads(params, step))
        opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)


@pytest.mark.parametrize("way", ["split", "stochastic", "float16", "float32, 8bit", "float32 master"])
def test_gradients_of_every_dtype(way):
    """And all of one step in one pass: clipping, the norm, zeroing."""
    params = parameters(DTYPES[WAYS[way][0]])
    case = TorchCase("adamw", "AdamW", {"weight_decay": 0.1})
    opt = optimizer_of(case, way, params, clip_norm=3.0, clip_value=0.1, nonfinite="raise")
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way, clip_norm=3.0, clip_value=0.1, nonfinite="raise")
    for step, name in enumerate(["float32", "bfloat16", "float16", "bfloat16", "float32", "float16"]):
        reference.step(set_grads(params, step, DTYPES[name]))
        opt.step(zero_grad=step % 2 == 0)
        assert opt.last_norm == reference.last_norm
        assert all(not param.grad.any() for param in params) == (step % 2 == 0)
    assert_same_bits([array_of(param) for param in params], arrays)


@EACH_WAY
def test_layouts_and_gaps(way):
    """A parameter in another order of dimensions, one with gaps in memory, and gradients that lie otherwise."""
    dtype = DTYPES[WAYS[way][0]]
    case = TorchCase("adam", "Adam")

    def made(turn):
        torch.manual_seed(0)
        tensors = torch.randn(40, 30).to(dtype), torch.randn(50, 2).to(dtype)[:, 0]
        params = [nn.Parameter(turn(tensor)) for tensor in tensors]
        opt = optimizer_of(case, way, params)
        for step in range(4):
            for param, grad in zip(params, (torch.randn(40, 30), torch.randn(50)), strict=True):
                grad = grad.to(dtype)
                param.grad = grad.t().contiguous().t() if step % 2 and grad.ndim == 2 else grad
            opt.step()
        return params

    for mine, dense in zip(made(lambda tensor: tensor), made(torch.clone), strict=True):
        assert torch.equal(mine, dense)
    if "8bit" not in way and "stochastic" not in way and way != "float32, bfloat16":
        turned = made(lambda tensor: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor)
        assert all(map(torch.equal, turned, made(torch.clone)))


def train(opt, params, steps):
    for step in steps:
        set_grads(params, step)
        opt.step()


def saved(opt):
    """Return a checkpoint as it comes out of a file."""
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file)


@EACH_WAY
@pytest.mark.parametrize("name", ["AdamW", "Lion", "ASGD", "NAdam", "SGD", "Adagrad"])
def test_a_resumed_run_goes_on_bit_for_bit(name, way):
    case = TorchCase(name.lower(), name, {"momentum": 0.9} if name == "SGD" else {})
    dtype = DTYPES[WAYS[way][0]]
    params = parameters(dtype)
    opt = optimizer_of(case, way, params)
    if opt is None:
        return
    train(opt, params, range(5))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    resumed = optimizer_of(case, way, others, seed=99)
    train(resumed, [nn.Parameter(param.detach().clone()) for param in params], range(1))
    resumed.load_state_dict(saved(opt))
    both = copy.deepcopy({"opt": opt, "params": params})
    opened = pickle.loads(pickle.dumps({"opt": opt, "params": params}))
    train(opt, params, range(5, 9))
    for other, theirs in ((resumed, others), (both["opt"], both["params"]), (opened["opt"], opened["params"])):
        train(other, theirs, range(5, 9))
        assert_same_bits([array_of(param) for param in theirs], [array_of(param) for param in params])
        for param, mine in zip(theirs, params, strict=True):
            own, expected = other.state[param], opt.state[mine]
            assert {key: value.dtype for key, value in own.items()} == {k: v.dtype for k, v in expected.items()}
            assert all(torch.equal(own[key], expected[key]) for key in expected)


def test_random_bits_do_not_depend_on_who_has_a_gradient():
    """A run that is resumed where a parameter has no gradient goes on bit for bit."""

    def run(interrupted):
        params = parameters(torch.bfloat16)
        opt = gdfast.torch.AdamW(params, lr=0.1, master=None, state_dtype="8bit")
        train(opt, params, range(3))
        if interrupted:
            state = saved(opt)
            opt = gdfast.torch.AdamW(params, lr=0.1, master=None, state_dtype="8bit")
            opt.load_state_dict(state)
        params[0].grad = params[2].grad = None
        opt.step()
        train(opt, params, range(4, 7))
        return [array_of(param) for param in params]

    assert_same_bits(run(True), run(False))


def test_state_of_pytorch_loads_and_ours_loads_there():
    mine, its = parameters(torch.bfloat16), parameters(torch.bfloat16)
    other = torch.optim.AdamW(its, lr=0.01)
    train(other, its, range(4))
    for state_dtype in ("float32", "bfloat16", "8bit"):
        opt = gdfast.torch.AdamW(
            [{"params": mine[:2], "state_dtype": state_dtype}, {"params": mine[2:]}], state_dtype="bfloat16"
        )
        theirs = torch.optim.AdamW([{"params": its[:2]}, {"params": its[2:]}], lr=0.01)
        theirs.load_state_dict(regrouped(other.state_dict()))
        opt.load_state_dict(theirs.state_dict())
        assert opt.param_groups[0]["state_dtype"] == state_dtype
        set_grads(mine, 4)
        opt.step()
        own = opt.state[mine[0]]
        assert own["step"].item() == 5
        assert {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(state_dtype) == getattr(
            own.get("exp_avg"), "dtype", None
        )
        back = torch.optim.AdamW([{"params": its[:2]}, {"params": its[2:]}], lr=0.01)
        back.load_state_dict(opt.state_dict())
        set_grads(its, 5)
        if state_dtype == "8bit":  # whose codes are not numbers
            with pytest.raises(KeyError, match="exp_avg"):
                back.step()
        else:
            back.step()
            assert back.state[its[0]]["exp_avg"].dtype == torch.bfloat16


def regrouped(state_dict):
    """Return a checkpoint of one group as one of two."""
    (group,) = state_dict["param_groups"]
    groups = [{**group, "params": group["params"][:2]}, {**group, "params": group["params"][2:]}]
    return {"state": state_dict["state"], "param_groups": groups}


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_state_is_converted_to_what_the_optimizer_keeps(name):
    """Within what each format holds."""
    params = parameters(DTYPES[name])
    first = gdfast.torch.Adam(params, state_dtype="8bit", state_dtype_min_size=0)
    train(first, params, range(4))
    state = first.state_dict()
    exact = {}
    for form in ("float32", "bfloat16", "8bit", "float32"):
        opt = gdfast.torch.Adam(params, lr=0.0, state_dtype=form, state_dtype_min_size=0)
        opt.load_state_dict(state)
        for param in params:
            param.grad = torch.zeros_like(param)
        opt.param_groups[0]["betas"] = (1 - 1e-7, 1 - 1e-7)
        opt.step()
        own = opt.state[params[0]]
        if form == "float32":
            exact = exact or {key: own[key].clone() for key in ("exp_avg", "exp_avg_sq")}
            for key, values in exact.items():
                torch.testing.assert_close(own[key], values, rtol=0.3, atol=0.01)
        assert ("exp_avg.codes" in own) == (form == "8bit") != ("exp_avg" in own)
        state = opt.state_dict()


WRONG = {
    "a rule without short state": (
        "Rprop",
        {"state_dtype": "8bit"},
        ValueError,
        "state_dtype must be 'float32' for Rprop",
    ),
    "a name": ("Adam", {"state_dtype": {"sum": "8bit"}}, ValueError, "state_dtype names 'sum'; Adam has exp_avg"),
    "a format": ("Adam", {"state_dtype": "4bit"}, ValueError, "state_dtype must be one of"),
    "a master": ("Adam", {"master": True}, ValueError, "master must be one of"),
    "a rounding": ("Adam", {"rounding": "up"}, ValueError, "rounding must be one of"),
    "a seed": ("Adam", {"seed": -1}, ValueError, r"seed must be in \[0, 4294967296\); got -1"),
    "a size": ("Adam", {"state_dtype_min_size": 0.5}, TypeError, "state_dtype_min_size must be an int; got 0.5"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_refused_by_the_constructor(kind):
    name, options, error, match = WRONG[kind]
    with pytest.raises(error, match=match):
        getattr(gdfast.torch, name)(parameters(torch.bfloat16), **options)


def test_a_group_of_its_own():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params[1:])
    with pytest.raises(ValueError, match="state_dtype must be one of"):
        opt.add_param_group({"params": params[:1], "state_dtype": "none"})
    opt.add_param_group({"params": params[:1], "state_dtype": {"exp_avg": "8bit"}})
    train(opt, params, range(2))
    assert list(opt.state[params[0]]) == ["step", "exp_avg.codes", "exp_avg.scales", "exp_avg_sq", "remainder"]
    opt.param_groups[1]["state_dtype"] = "float32"
    train(opt, params, range(2, 3))
    assert set(opt.state[params[0]]) == {"step", "exp_avg", "exp_avg_sq", "remainder"}


REFUSED = {
    "split": ("Adam", torch.float16, {"master": "split"}, ValueError, "master='split' is for bfloat16"),
    "rounding": ("Adam", torch.float16, {"master": None}, ValueError, "rounding must be 'nearest' for"),
    "float64": ("Adam", torch.float64, {"state_dtype": "8bit"}, TypeError, "whose dtype is float64"),
    "complex": ("Adam", torch.complex64, {"state_dtype": "8bit"}, TypeError, "which is complex; got torch.complex64"),
    "rows": (
        "SparseAdam",
        torch.bfloat16,
        {},
        TypeError,
        "must be float32 or float64 for SparseAdam, which steps rows",
    ),
    "state of rows": (
        "SparseAdam",
        torch.float32,
        {"state_dtype": "8bit"},
        TypeError,
        "must be float32 or float64 for",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_step_refuses_before_it_writes(kind):
    name, dtype, options, error, match = REFUSED[kind]
    first, w = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(70, 70, dtype=dtype))
    opt = getattr(gdfast.torch, name)([first, w], **options)
    first.grad, w.grad = torch.ones(3), torch.ones(70, 70, dtype=dtype)
    if name == "SparseAdam":
        first.grad, w.grad = first.grad.to_sparse(), w.grad.to_sparse()
    with pytest.raises(error, match=match):
        opt.step()
    assert first.tolist() == [1.0] * 3


def damaged(own, how):
    if how == "another master":
        own["master"] = torch.ones(70, 60)
    elif how == "remainder":
        own["remainder"] = own["remainder"].float()
    elif how == "no scales":
        del own["exp_avg.scales"]
    elif how == "scales":
        own["exp_avg.scales"] = own["exp_avg.scales"][1:]
    elif how == "scales with gaps":
        own["exp_avg.scales"] = torch.stack([own["exp_avg.scales"]] * 2, 1)[:, 0]
    elif how == "codes":
        own["exp_avg.codes"] = own["exp_avg.codes"].int()
    elif how == "codes with gaps":
        own["exp_avg.codes"] = torch.stack([own["exp_avg.codes"]] * 2, 2)[..., 0]
    else:
        own["exp_avg_sq"] = torch.ones(70, 60, dtype=torch.int64)


DAMAGED = {
    "another master": "is that of master='float32'; this optimizer has 'split'",
    "remainder": 'state "remainder" of .* must be a tensor like it, torch.int16',
    "no scales": 'state "exp_avg.scales" of .* got None',
    "scales": r'state "exp_avg.scales" of .* shape \(33,\)',
    "scales with gaps": "must lie in one block of memory",
    "codes": 'state "exp_avg.codes" of .* must be a tensor like it, torch.uint8',
    "codes with gaps": "must lie in one block of memory",
    "integers": 'state "exp_avg_sq" of .* must be a tensor like it, torch.float32',
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_state(how):
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, state_dtype={"exp_avg": "8bit"})
    train(opt, params, range(2))
    before = [param.detach().clone() for param in params]
    damaged(opt.state[params[0]], how)
    with pytest.raises(ValueError, match=DAMAGED[how]):
        opt.step()
    assert all(map(torch.equal, params, before))


def test_state_that_is_replaced_or_moved_is_taken_up():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, state_dtype="8bit")
    train(opt, params, range(2))
    own = opt.state[params[0]]
    kept = {key: value.clone() for key, value in own.items()}
    others = [nn.Parameter(param.detach().clone()) for param in params]
    twin_opt = gdfast.torch.Adam(others, state_dtype="8bit")
    twin_opt.load_state_dict(opt.state_dict())
    own["exp_avg.scales"].data = kept["exp_avg.scales"].clone()
    own["remainder"] = kept["remainder"].t().contiguous().t()
    train(opt, params, range(2, 4))
    train(twin_opt, others, range(2, 4))
    assert all(map(torch.equal, params, others))
    params[0].data = params[0].detach().t().contiguous().t()  # in another order: the blocks are made anew
    train(opt, params, range(4, 5))
    assert own["exp_avg.codes"].stride() == params[0].stride()


@pytest.mark.parametrize("way", ["float16", "float32 master", "float16, 8bit"])
def test_a_float32_master_follows_its_parameter(way):
    """What is written by others counts, as without a master; elsewhere it keeps its bits."""
    case, dtype = TorchCase("sgd", "SGD", {"lr": 2.0**-13}), DTYPES[WAYS[way][0]]
    params, others = parameters(dtype), parameters(dtype)
    opt, other = optimizer_of(case, way, params), optimizer_of(case, way, others)
    for step in range(6):
        set_grads(params, step)
        set_grads(others, step)
        opt.step()
        other.step()
        with torch.no_grad():
            for param in params:  # writes, and changes nothing
                param.mul_(1.0)
        if step == 3:
            opt.load_state_dict(opt.state_dict())
    assert all(map(torch.equal, params, others))
    assert all(
        torch.equal(opt.state[p]["master"], other.state[q]["master"]) for p, q in zip(params, others, strict=True)
    )
    loaded = torch.arange(4200.0).reshape(70, 60).to(dtype)
    with torch.no_grad():
        params[0].copy_(loaded)
        params[4][3] = 100.0
    for param in params:
        param.grad = torch.zeros_like(param)
    opt.step()
    assert torch.equal(params[0], loaded)
    assert params[4][3] == 100.0
    assert torch.equal(params[4][4:], others[4][4:])


def test_a_seed_that_no_optimizer_has_is_not_loaded():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.Adam(params, seed=5)
    state = opt.state_dict()
    assert state["gdfast"] == {"seed": 5}
    state["gdfast"]["seed"] = -1
    state["param_groups"][0]["lr"] = 7.0
    with pytest.raises(ValueError, match="seed must be in"):
        opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 1e-3
    assert "gdfast" not in gdfast.torch.Adam([nn.Parameter(torch.ones(1))]).state_dict()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite(bad):
    params = parameters(torch.bfloat16)
    before = [param.detach().clone() for param in params]
    set_grads(params, 0)
    params[2].grad[3] = bad
    skip = gdfast.torch.Adam(params, nonfinite="skip", master=None)
    skip.step()
    assert skip.skipped_steps == 1
    with pytest.raises(FloatingPointError, match=r'\["params"\]\[2\]\.grad \(.*1'):
        gdfast.torch.Adam(params, nonfinite="raise").step()
    assert all(map(torch.equal, params, before))


def test_sparse_gradients_are_made_dense():
    dense, sparse = (nn.Parameter(torch.ones(90, 50).bfloat16()) for _ in range(2))
    for param in (dense, sparse):
        opt = gdfast.torch.SGD([param], lr=0.125)
        grad = torch.zeros(90, 50).bfloat16()
        grad[::7] = 0.5
        param.grad = grad if param is dense else grad.to_sparse(1)
        opt.step()
    assert torch.equal(dense, sparse)
    w = nn.Parameter(torch.ones(4, 2))
    w.grad_dtype = torch.bfloat16
    w.grad = torch.eye(4, 2).bfloat16().to_sparse(1)
    gdfast.torch.SGD([w], lr=1.0).step()
    assert torch.equal(w.detach(), torch.ones(4, 2) - torch.eye(4, 2))


def test_without_ml_dtypes():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import torch, gdfast.torch\n"
        "w = torch.nn.Parameter(torch.ones(100, 90, dtype=torch.bfloat16))\n"
        "opt = gdfast.torch.AdamW([w], clip_norm=1.0, state_dtype='8bit')\n"
        "for _ in range(3):\n"
        "    w.grad = torch.full_like(w, 0.5)\n"
        "    opt.step()\n"
        "assert w.max() < 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_mixed_model_under_autocast():
    """Normalisation in float32, weights in bfloat16."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64).bfloat16(), nn.LayerNorm(64), nn.Linear(64, 1))
    opt = gdfast.torch.AdamW(model.parameters(), lr=0.01, state_dtype="8bit", state_dtype_min_size=0)
    x = torch.randn(128, 8)
    losses = []
    for _ in range(60):
        opt.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert {param.grad.dtype for param in model.parameters()} == {torch.bfloat16, torch.float32}


def test_grad_scaler_of_a_float16_model():
    """PyTorch's scaler refuses to unscale float16; the step does it, exactly, and skips what is infinite."""
    params, plain = parameters(torch.float16), parameters(torch.float16)
    opt, other = gdfast.torch.Adam(params, lr=0.01, clip_norm=2.0), gdfast.torch.Adam(plain, lr=0.01, clip_norm=2.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for step in range(4):
        scaler.scale(torch.ones(1))
        set_grads(params, step)
        set_grads(plain, step)
        for param in params:
            param.grad *= 64.0
        if step == 2:
            params[0].grad[0, 0] = float("inf")
        else:
            other.step()
        scaler.step(opt, zero_grad=True)
        assert not any(param.grad.any() for param in params)
        assert opt.last_norm == other.last_norm
        scaler.update(64.0)
    assert opt.state[params[0]]["step"].item() == 3
    assert all(map(torch.equal, params, plain))
    assert not hasattr(opt, "grad_scale")
    set_grads(params, 5)
    params[0].grad[0, 0] = float("inf")
    before = params[1].detach().clone()
    scaler.scale(torch.ones(1))
    scaler.step(opt)
    assert torch.equal(before, params[1])


@EACH_WAY
@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion", "Adagrad"])
def test_the_averages_are_those_of_gdfast(name, way):
    case = TorchCase(name.lower(), name, {"lr": 0.01})
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params, ema_decay=0.75)
    if opt is None:
        return
    arrays = [array_of(param) for param in params]
    reference = twin(opt, arrays, way, ema_decay=0.75)
    for step in range(6):
        reference.step(set_grads(params, step))
        opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)
    assert all(opt.state[param]["ema"].dtype == torch.float32 for param in params)
    before = [param.detach().clone() for param in params]
    averages = [opt.state[param]["ema"].clone() for param in params]
    with opt.averaged(), reference.averaged():
        assert_same_bits([array_of(param) for param in params], arrays)
        assert all(torch.equal(p, a.to(p.dtype)) for p, a in zip(params, averages, strict=True))
    assert all(map(torch.equal, params, before))
    assert all(torch.equal(opt.state[param]["ema"], average) for param, average in zip(params, averages, strict=True))
    reference.step(set_grads(params, 7))
    opt.step()
    assert_same_bits([array_of(param) for param in params], arrays)
    same_state(opt, params, reference)


@pytest.mark.parametrize("way", ["split", "float32 master", "stochastic", "float16"])
def test_averages_are_resumed_bit_for_bit(way):
    case = TorchCase("adamw", "AdamW")
    params = parameters(DTYPES[WAYS[way][0]])
    opt = optimizer_of(case, way, params, ema_decay=0.5)
    train(opt, params, range(3))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    resumed = optimizer_of(case, way, others, ema_decay=0.5)
    resumed.load_state_dict(saved(opt))
    both = copy.deepcopy({"opt": opt, "params": params})
    train(opt, params, range(3, 5))
    for other, theirs in ((resumed, others), (both["opt"], both["params"])):
        train(other, theirs, range(3, 5))
        for param, mine in zip(theirs, params, strict=True):
            assert torch.equal(param, mine)
            assert torch.equal(other.state[param]["ema"], opt.state[mine]["ema"])


def test_averaged_parameters_come_back_after_an_error_and_with_gaps_in_memory():
    param = nn.Parameter(torch.ones(30, 2).bfloat16()[:, 0])
    opt = gdfast.torch.SGD([param], lr=0.3, ema_decay=0.5)
    train(opt, [param], range(3))
    before, average = param.detach().clone(), opt.state[param]["ema"].clone()

    def fails():
        with opt.averaged():
            assert torch.equal(param, average.bfloat16())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(param, before)
    assert torch.equal(opt.state[param]["ema"], average)


@pytest.mark.parametrize("master", ["split", "float32", None])
def test_a_model_that_is_converted_and_back_again(master):
    """As with a new optimizer that has the same averages: no master of before is left."""

    def forget(opt, params):
        for param in params:
            param.grad = None
            opt.state[param].pop("remainder", None)
            opt.state[param].pop("master", None)

    def run(forgets):
        params = parameters(torch.bfloat16)
        model, opt = nn.ParameterList(params), gdfast.torch.AdamW(params, lr=0.1, master=master)
        for step, dtype in enumerate((torch.bfloat16, torch.float32, torch.bfloat16)):
            forgets(params, opt)
            for param in params:
                param.grad = None
            model.to(dtype)
            assert params[0].dtype == dtype
            train(opt, params, [step])
            assert ("master" in opt.state[params[0]]) == (dtype == torch.bfloat16 and master == "float32")
            assert ("remainder" in opt.state[params[0]]) == (dtype == torch.bfloat16 and master == "split")
        return params

    assert all(map(torch.equal, run(lambda *_: None), run(lambda params, opt: forget(opt, params))))


def test_a_model_that_is_converted_to_float64_needs_state_like_it():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.AdamW(params)
    train(opt, params, range(2))
    nn.ParameterList(params).to(torch.float64)
    before = [param.detach().clone() for param in params]
    with pytest.raises(ValueError, match=r'state "exp_avg" of .* must be a tensor like it, torch.float64'):
        train(opt, params, range(2, 3))
    assert all(map(torch.equal, params, before))


def test_groups_of_other_dtypes_are_added_and_copied():
    params = parameters(torch.bfloat16)
    opt = gdfast.torch.AdamW(params, ema_decay=0.5)
    for dtype in (torch.float32, torch.float64, torch.float16):
        params += [nn.Parameter(torch.ones(5, dtype=dtype))]
        opt.add_param_group({"params": params[-1:], "lr": 0.5})
        train(opt, params, range(2))
    opened, copied = pickle.loads(pickle.dumps((opt, params))), copy.deepcopy((opt, params))
    for other, theirs in ((opt, params), opened, copied):
        train(other, theirs, range(2, 4))
        for mine, param in zip(params, theirs, strict=True):
            assert torch.equal(param, mine)
            assert all(torch.equal(opt.state[mine][name], value) for name, value in other.state[param].items())
    assert [opt.state[param]["ema"].dtype for param in params[-3:]] == [torch.float32, torch.float64, torch.float32]


def test_a_scaler_of_a_bfloat16_model_and_gradients_that_are_not_finite():
    """The scaler unscales these itself, and skips the step before the optimizer sees it."""
    params, others = parameters(torch.bfloat16), parameters(torch.bfloat16)
    opt, other = (gdfast.torch.AdamW(p, nonfinite="raise", clip_norm=2.0) for p in (params, others))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(3):
        scaler.scale(torch.ones(1))
        set_grads(params, step)
        set_grads(others, step)
        for param in params:
            param.grad *= scaler.get_scale()
        if step == 1:
            params[0].grad[0, 0] = float("inf")
        else:
            other.step()
        scaler.step(opt)
        scaler.update()
    assert scaler.get_scale() == 4.0
    assert all(map(torch.equal, params, others))


@pytest.mark.parametrize(
    ("saved_by", "loaded_by"),
    [
        ("split", "float32"),
        ("split", None),
        ("float32", "split"),
        ("float32", None),
        (None, "split"),
        (None, "float32"),
    ],
)
def test_a_checkpoint_of_another_master(saved_by, loaded_by):
    """One without masters loads, and they begin at the parameters; one with another is refused, and nothing written."""
    params = parameters(torch.bfloat16)
    first = gdfast.torch.AdamW(params, master=saved_by)
    train(first, params, range(2))
    opt = gdfast.torch.AdamW(params, lr=0.0, weight_decay=0.0, master=loaded_by)
    opt.load_state_dict(first.state_dict())
    before = [param.detach().clone() for param in params]
    if saved_by is None:
        opt.param_groups[0]["lr"] = 0.0
        train(opt, params, range(2, 3))
        assert ("remainder" if loaded_by == "split" else "master") in opt.state[params[0]]
    else:
        with pytest.raises(ValueError, match=f"is that of master='{saved_by}'; this optimizer has {loaded_by!r}"):
            train(opt, params, range(2, 3))
    assert all(map(torch.equal, params, before))
