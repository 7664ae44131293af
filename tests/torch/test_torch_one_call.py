"""A step that native code makes in one call does what the general one does, whatever happened since the last one."""

import copy
import weakref

import pytest

torch = pytest.importorskip("torch", minversion="2.13.0")

import gdfast.torch  # noqa: E402
from gdfast.engine._tensors import same_settings  # noqa: E402
from gdfast.torch import rule  # noqa: E402
from gdfast.torch.binding import Binding  # noqa: E402

STEPS = 6


def setting(**options):
    return lambda opt, params: opt.param_groups[0].update(options)


def number(value):
    return lambda opt, params: opt.state[params[0]]["step"].fill_(value)


def grad(make):
    def change(opt, params):
        params[0].grad = make(params[0])

    return change


def grad_of_dtype(dtype):
    def change(opt, params):
        params[0].grad = None
        params[0].grad_dtype = dtype
        params[0].grad = torch.full((4, 3), 0.25, dtype=dtype)

    return change


def put(attribute, make):
    """Give a tensor of the state, or the parameter, other memory, shape or type."""

    def change(opt, params):
        tensor = params[0] if attribute == "param" else opt.state[params[0]][attribute]
        tensor.data = make(tensor.detach().clone())

    return change


def swap(attribute, make):
    """Let a tensor become another one, of a kind that its data cannot be."""

    def change(opt, params):
        tensor = params[0] if attribute == "param" else opt.state[params[0]][attribute]
        torch.utils.swap_tensors(tensor, make(tensor.detach().clone()))

    return change


def resize(opt, params):
    average = opt.state[params[0]]["exp_avg"]
    average.data = average.detach().clone()  # in memory of PyTorch's, which can be resized
    average.untyped_storage().resize_(0)


def drop_average(opt, params):
    del opt.state[params[0]]["exp_avg"]


def exchange_names(opt, params):
    """Exchange two averages, and keep the order of the tensors."""
    own = opt.state[params[0]]
    names = {"exp_avg": "exp_avg_sq", "exp_avg_sq": "exp_avg"}
    renamed = [(names.get(name, name), value) for name, value in own.items()]
    own.clear()
    own.update(renamed)


def rename(opt, params):
    own = opt.state[params[0]]
    own["other"] = own.pop("exp_avg_sq")


def twice(opt, params):
    opt.param_groups[0]["params"] = [params[0], params[0], params[1]]


def add_group(opt, params):
    extra = torch.nn.Parameter(torch.ones(2))
    extra.grad = torch.ones(2)
    opt.add_param_group({"params": [extra], "lr": 0.5})


CHANGES = {
    "nothing": lambda opt, params: None,
    "lr": setting(lr=0.5),
    "the same lr, another object": setting(lr=float("0.01")),
    "lr of a tensor": setting(lr=torch.tensor(0.25)),
    "lr that is invalid": setting(lr=-1.0),
    "betas in a list": setting(betas=[0.5, 0.75]),
    "weight_decay": setting(weight_decay=0.125),
    "maximize": setting(maximize=True),
    "decoupled": setting(weight_decay=0.125, decoupled_weight_decay=True),
    "state_dtype": setting(state_dtype="bfloat16"),
    "a missing option": lambda opt, params: opt.param_groups[0].pop("lr"),
    "count": number(40.0),
    "count with a fraction": number(3.5),
    "count below zero": number(-1.0),
    "count that is NaN": number(float("nan")),
    "count that is infinite": number(float("inf")),
    "count beyond 2**52": number(2.0**60),
    "no gradient": grad(lambda p: None),
    "gradient in another order": grad(lambda p: torch.arange(12.0).reshape(3, 4).t()),
    "gradient with gaps": grad(lambda p: torch.arange(24.0).reshape(4, 6)[:, ::2]),
    "expanded gradient": grad(lambda p: torch.ones(1).expand(4, 3)),
    "gradient of bfloat16": grad_of_dtype(torch.bfloat16),
    "gradient of float16": grad_of_dtype(torch.float16),
    "sparse gradient": grad(lambda p: torch.eye(4, 3).to_sparse()),
    "gradient that is the parameter": grad(lambda p: p.detach()),
    "gradient inside the state": lambda opt, params: setattr(params[0], "grad", opt.state[params[0]]["exp_avg"]),
    "parameter elsewhere": put("param", lambda t: t),
    "parameter in another order": put("param", lambda t: t.t().contiguous().t()),
    "parameter with gaps": put("param", lambda t: torch.cat([t, t], 1)[:, :3]),
    "parameter on meta": swap("param", lambda t: torch.nn.Parameter(t.to("meta"))),
    "parameter of another dtype": put("param", lambda t: t.double()),
    "state elsewhere": put("exp_avg", lambda t: t),
    "state in another order": put("exp_avg_sq", lambda t: t.t().contiguous().t()),
    "state of another dtype": put("exp_avg", lambda t: t.double()),
    "state on meta": swap("exp_avg", lambda t: t.to("meta")),
    "state that is sparse": swap("exp_avg_sq", lambda t: t.to_sparse()),
    "state without memory": resize,
    "state without an average": drop_average,
    "averages under each other's names": exchange_names,
    "an average under another name": rename,
    "a parameter twice": twice,
    "another group": add_group,
    "clipping": lambda opt, params: setattr(opt, "guard", gdfast.torch.Adam([params[1]], clip_value=0.125).guard),
    "one thread": lambda opt, params: setattr(opt, "n_threads", 1),
}


def run(change):
    """Make steps with a change in the middle; return what they raise, and all that is there after each."""
    generator = torch.Generator().manual_seed(5)
    params = [torch.nn.Parameter(torch.ones(4, 3)), torch.nn.Parameter(torch.zeros(()))]
    opt, seen = gdfast.torch.Adam(params, lr=0.01), []
    for step in range(STEPS):
        for param in params:
            if not param.is_meta:
                param.grad_dtype = None
                param.grad = torch.empty_like(param).copy_(torch.randn(param.shape, generator=generator))
        if step == 3:
            change(opt, params)
        before = [param._version for param in params]
        try:
            opt.step()
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            seen.append((type(error), str(error)))
        seen.append([now._version - then for now, then in zip(params, before, strict=True)])
        for param in params:
            own = opt.state[param]
            for tensor in (param.detach(), *own.values()):
                stored = not tensor.is_meta and (tensor.untyped_storage().nbytes() > 0)
                seen.append((tensor.dtype, tensor.stride(), tensor.tolist() if stored else None))
            seen.append(list(own))
    return repr(seen)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_answered_as_by_the_general_step(name, monkeypatch):
    found = run(CHANGES[name])
    monkeypatch.setattr(Binding, "try_step", lambda self, n_threads: False)
    assert run(CHANGES[name]) == found


@pytest.mark.parametrize("change", [exchange_names, rename])
def test_names_in_the_state_count_and_not_the_order_of_its_tensors(change):
    """Of a step and a copy of it, one that is bound and one that is made anew see the same state."""
    params = [torch.nn.Parameter(torch.ones(3))]
    opt = gdfast.torch.Adam(params)
    for grad in (1.0, 2.0):
        params[0].grad = torch.full((3,), grad)
        opt.step()
    change(opt, params)
    (other,), fresh = copy.deepcopy((params, opt))
    other.grad = params[0].grad.clone()
    opt.step()
    fresh.step()
    assert torch.equal(params[0], other)
    assert repr(opt.state[params[0]]) == repr(fresh.state[other])


@pytest.fixture
def made(monkeypatch):
    """What `Binding.try_step` returned, one a step."""
    answers, inner = [], Binding.try_step
    monkeypatch.setattr(Binding, "try_step", lambda *args: answers.append(inner(*args)) or answers[-1])
    return answers


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [False, True, True]),  # the first one tells the engine the numbers
        ({"ema_decay": 0.9}, [False] * 3),
        ({"clip_norm": 1.0}, []),
        ({"clip_value": 1.0}, []),
        ({"nonfinite": "skip"}, []),
    ],
)
def test_which_steps_are_made_in_one_call(options, expected, made):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    opt = gdfast.torch.AdamW([param], **options)
    for _ in range(3):
        opt.step()
    assert made == expected


def test_equal_hyperparameters_in_other_objects_need_one_general_reading(made, monkeypatch):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    opt = gdfast.torch.AdamW([param], lr=0.01)
    opt.step()
    group, settings = opt.param_groups[0], opt._bound._settings
    assert same_settings([group], settings)
    group["lr"] = float("0.01")
    assert not same_settings([group], settings)
    opt.step()
    assert same_settings([group], opt._bound._settings)
    assert made == [False, True]
    for other in ([], [None], [dict(group, lr=0.02)], [{}], [torch.nn.ParameterDict()]):
        assert not same_settings(other, opt._bound._settings)
    assert not same_settings([group], [None])


def test_a_new_learning_rate_is_checked_alone(monkeypatch):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    opt = gdfast.torch.AdamW([param], lr=0.5)
    opt.step()
    read, inner = [], rule.ParamGroup
    monkeypatch.setattr(rule, "ParamGroup", lambda *args, **kwargs: read.append(1) or inner(*args, **kwargs))
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    for step in range(1, 5):
        opt.step()
        schedule.step()
        opt.step()
        assert opt._bound.groups[0].values["lr"] == 0.5 ** (step + 1)
    assert read == []
    group = opt.param_groups[0]
    for wrong, error in ((-1.0, ValueError), (float("nan"), ValueError), ("fast", TypeError)):
        group["lr"] = wrong
        with pytest.raises(error, match="lr must be") as found:
            opt.step()
        assert found.value.__notes__ == ["in param_groups[0]"]
    group.update(lr=0.25, weight_decay=0.125)
    read.clear()
    opt.step()
    assert read == [1]
    assert (opt._bound.groups[0].values["lr"], opt._bound.groups[0].values["weight_decay"]) == (0.25, 0.125)


def test_a_group_without_a_learning_rate_has_the_default():
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    opt = gdfast.torch.SGD([param], lr=0.5)
    del opt.param_groups[0]["lr"]
    for momentum in (0.0, 0.5, 0.25):
        opt.param_groups[0]["momentum"] = momentum
        opt.step()
    assert opt._bound.groups[0].values["lr"] == gdfast.SGD(param.detach().numpy()).lr


def test_the_gradients_are_let_go_after_the_step():
    param = torch.nn.Parameter(torch.ones(3))
    opt = gdfast.torch.AdamW([param])
    for _ in range(3):
        param.grad = torch.ones(3)
        opt.step()
        left = weakref.ref(param.grad)
        param.grad = None
        assert left() is None


def test_an_error_before_the_engine_runs_leaves_all_as_it_was(monkeypatch):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    opt = gdfast.torch.AdamW([param])
    opt.step()
    before = param.detach().clone()

    with monkeypatch.context() as patch:
        patch.setattr("gdfast.torch.binding._increment_version", lambda tensors: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            opt.step()
    assert torch.equal(param, before)
    assert opt.state[param]["step"].item() == 1.0
    opt.step()
    assert opt.state[param]["step"].item() == 2.0


def test_a_binding_that_was_outdated_is_not_taken_up_again_after_an_error():
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    opt = gdfast.torch.Adam(params)
    for param in params:
        param.grad = torch.ones(3)
    opt.step()
    opt.param_groups[0]["amsgrad"] = True
    kept = opt.state[params[0]]["exp_avg"]
    opt.state[params[0]]["exp_avg"] = torch.ones(2)
    with pytest.raises(ValueError, match="exp_avg"):
        opt.step()
    opt.state[params[0]]["exp_avg"] = kept
    opt.step()
    assert all("max_exp_avg_sq" in opt.state[param] for param in params)


# Dropping the gradients in the same call.


def two(options=None):
    params = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))]
    for param in params[:2]:
        param.grad = torch.ones_like(param)
    return params, gdfast.torch.AdamW([{"params": params[:1]}, {"params": params[1:]}], **(options or {}))


def test_gradients_are_dropped_instead_of_zeroed():
    params, opt = two()
    kept = [param.grad for param in params[:2]]
    opt.step(zero_grad=True, set_to_none=True)
    assert all(param.grad is None for param in params)
    assert all(grad.all() for grad in kept)  # dropped, not written
    others, plain = two()
    plain.step()
    assert all(map(torch.equal, params, others))


def test_the_backward_pass_then_puts_its_gradient_there():
    param = torch.nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD([param], lr=0.5)
    for _ in range(2):
        (param * 2).sum().backward()
        assert param.grad.tolist() == [2.0, 2.0, 2.0]
        opt.step(zero_grad=True, set_to_none=True)
    assert param.tolist() == [-1.0, -1.0, -1.0]


def test_gradients_are_dropped_of_a_step_that_is_skipped_and_kept_of_one_that_fails():
    params, opt = two({"nonfinite": "skip"})
    params[0].grad[0] = float("nan")
    opt.step(zero_grad=True, set_to_none=True)
    assert opt.skipped_steps == 1
    assert all(param.grad is None for param in params)
    params, opt = two({"nonfinite": "raise"})
    params[0].grad[0] = float("nan")
    with pytest.raises(FloatingPointError):
        opt.step(zero_grad=True, set_to_none=True)
    assert params[0].grad.isnan().any()


def test_set_to_none_without_zero_grad_is_refused():
    params, opt = two()
    with pytest.raises(ValueError, match="needs zero_grad=True"):
        opt.step(set_to_none=True)
    assert params[0].grad is not None
    assert params[0].detach().eq(1).all()
