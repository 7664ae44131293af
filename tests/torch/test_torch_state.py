"""State of `gdfast.torch`: checkpoints to and from `torch.optim`, copies, and what users do to it by hand."""

import copy
import io
import pickle

import pytest
from torch_cases import CASES, EACH, close, parameters, run, set_grads, states, torch

import gdfast.torch


def saved_and_loaded(state):
    """Write a checkpoint to a file and read it back, as nothing but tensors and plain values."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def copied(params):
    return [torch.nn.Parameter(p.detach().clone()) for p in params]


@EACH
@pytest.mark.parametrize("back", [False, True], ids=["from torch.optim", "to torch.optim"])
def test_checkpoints_go_both_ways(case, back):
    first, second = (case.ours, case.theirs) if back else (case.theirs, case.ours)
    its = parameters()
    opt = first(its)
    run(opt, its, range(5))
    mine = copied(its)
    other = second(mine, lr=123.0)
    other.load_state_dict(saved_and_loaded(opt.state_dict()))
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
    run(opt, its, range(5, 12))
    run(other, mine, range(5, 12))
    close(mine, its, case)
    close(states(other), states(opt), case)


@EACH
def test_the_layout_is_that_of_pytorch(case):
    mine, its = parameters(), parameters()
    opt, other = case.ours(mine), case.theirs(its)
    assert [{k: v.shape for k, v in own.items()} for own in states(opt)] == [
        {k: v.shape for k, v in own.items()} for own in states(other)
    ]
    run(opt, mine, range(2))
    run(other, its, range(2))
    ours, theirs = opt.state_dict(), other.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for key, own in theirs["state"].items():
        assert ours["state"][key].keys() == own.keys()
        for name, value in own.items():
            assert type(ours["state"][key][name]) is type(value)
            assert ours["state"][key][name].dtype == value.dtype or name == "mu_product"
    assert repr(opt) == repr(other)


@EACH
def test_the_state_aliases_what_the_kernels_update(case):
    mine = parameters()
    opt = case.ours(mine)
    run(opt, mine, range(1))
    before = dict(opt.state.get(mine[0], {}))
    addresses = {name: value.data_ptr() for name, value in before.items()}
    run(opt, mine, range(1, 3))
    for name, value in opt.state.get(mine[0], {}).items():
        assert value is before[name]
        assert value.data_ptr() == addresses[name]
    if "step" in before:
        assert before["step"].item() == 3.0


@EACH
def test_a_resumed_run_goes_on_bit_for_bit(case):
    mine = parameters()
    opt = case.ours(mine)
    run(opt, mine, range(5))
    again = copied(mine)
    other = case.ours(again)
    state = opt.state_dict()
    other.load_state_dict(saved_and_loaded(state))
    run(opt, mine, range(5, 9))
    run(other, again, range(5, 9))
    assert all(map(torch.equal, mine, again))


@EACH
def test_loading_copies(case):
    mine, again = parameters(), parameters()
    opt, other = case.ours(mine), case.ours(again)
    run(opt, mine, range(3))
    other.load_state_dict(opt.state_dict())
    run(opt, mine, range(3, 5))
    run(other, again, range(3, 4))
    if "step" in opt.state.get(mine[0], ()):
        assert (opt.state[mine[0]]["step"].item(), other.state[again[0]]["step"].item()) == (5.0, 4.0)
    for one, two in zip(states(opt), states(other), strict=True):
        assert not {v.data_ptr() for v in one.values() if v.numel()} & {v.data_ptr() for v in two.values() if v.numel()}


@EACH
@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["deepcopy", "pickle"]
)
def test_copies_go_on_alone(case, how):
    mine = parameters()
    opt = case.ours(mine, clip_norm=3.0, ema_decay=0.5)
    run(opt, mine, range(4))
    again, other = how((mine, opt))
    assert other.param_groups[0]["params"][0] is again[0]
    run(other, again, range(4, 8))
    moved = [p.detach().clone() for p in again]
    run(opt, mine, range(4, 8))
    assert all(map(torch.equal, again, moved))
    assert all(map(torch.equal, mine, again))
    assert other.last_norm == opt.last_norm
    assert other.state[again[0]]["ema"].equal(opt.state[mine[0]]["ema"])


@EACH
def test_parameters_without_a_gradient_are_skipped(case):
    mine, its = parameters(), parameters()
    opt, other = case.ours(mine), case.theirs(its)
    skips = [(0, 1), (0,), (2, 4), (), (1, 2, 3, 4), (0, 1, 2, 3, 4), (), (2,), ()]
    for step, skip in enumerate(skips):
        run(opt, mine, range(step, step + 1), skip=skip)
        run(other, its, range(step, step + 1), skip=skip)
        close(mine, its, case)
        close(states(opt), states(other), case)


def test_what_a_user_does_to_the_state():
    def train(optimizer, params):
        opt = optimizer(params, lr=0.1)
        run(opt, params, range(3))
        opt.state[params[0]]["step"] += 10  # in place
        opt.state[params[1]]["step"] = torch.tensor(2.0)  # another tensor
        opt.state[params[2]]["exp_avg"] = torch.ones_like(params[2])
        opt.state[params[4]]["exp_avg_sq"].mul_(2)
        run(opt, params, range(3, 6))
        del opt.state[params[0]]
        run(opt, params, range(6, 8))
        opt.state[params[4]]["exp_avg"].data = torch.ones_like(params[4])
        run(opt, params, range(8, 10))
        opt.state.clear()
        run(opt, params, range(10, 12))
        kept, params[0] = params[0], torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
        opt.param_groups[0]["params"][0] = params[0]  # another parameter takes the place, with cut state
        cut = {k: v if v.ndim == 0 else v[:2, :2].contiguous() for k, v in opt.state.pop(kept).items()}
        opt.state[params[0]] = cut
        run(opt, params, range(12, 14))
        params[2].data = torch.zeros(5, dtype=torch.float64)  # other memory
        run(opt, params, range(14, 16))
        opt.param_groups[0]["params"].pop()
        opt.state["of my own"] = {"note": 1}
        run(opt, params, range(16, 18))
        return [params, *states(opt)]

    torch.testing.assert_close(train(gdfast.torch.Adam, parameters()), train(torch.optim.Adam, parameters()))


def test_state_that_was_deleted_is_made_by_the_next_gradient_and_not_before():
    def train(optimizer):
        params = parameters()
        opt = optimizer(params, lr=0.1, momentum=0.9, dampening=0.5)
        run(opt, params, range(2))
        del opt.state[params[0]]
        run(opt, params, range(2, 4), skip=(0,))
        kept = opt.state_dict()
        again = copied(params)
        other = optimizer(again, lr=0.1, momentum=0.9, dampening=0.5)
        other.load_state_dict(kept)
        run(other, again, range(4, 6))
        return sorted(kept["state"]), again

    (names, mine), (theirs, its) = train(gdfast.torch.SGD), train(torch.optim.SGD)
    assert names == theirs
    torch.testing.assert_close(mine, its)


def test_momentum_that_is_switched_on_begins_with_the_next_gradient():
    """State that was there before would pass for begun in a checkpoint: a first gradient is not dampened."""
    pairs = []
    for module in (gdfast.torch, torch.optim):
        w, v = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
        opt = module.SGD([w, v], lr=1.0, dampening=0.5)
        for step in range(4):
            w.grad, v.grad = torch.ones(2), torch.ones(2) if step != 1 else None
            if step == 1:
                opt.param_groups[0]["momentum"] = 0.5
            opt.step()
            if step == 1:
                assert opt.state[v].get("momentum_buffer") is None
                opt.load_state_dict(opt.state_dict())
        pairs.append([w.tolist(), v.tolist()])
    assert pairs[0] == pairs[1]


def test_old_checkpoints():
    """Steps were plain numbers once, and a buffer could be None."""
    mine, its = parameters(), parameters()
    opt, other = gdfast.torch.Adam(mine), torch.optim.Adam(its)
    run(other, its, range(3))
    state = other.state_dict()
    for p, q in zip(mine, its, strict=True):
        p.data.copy_(q.data)
    for own in state["state"].values():
        own["step"] = int(own["step"])
    opt.load_state_dict(state)
    run(opt, mine, range(3, 5))
    other.load_state_dict(state)
    run(other, its, range(3, 5))
    torch.testing.assert_close(mine, its)
    opt.state[mine[0]]["step"] = 7  # and a user may still write one
    run(opt, mine, range(5, 6))
    assert opt.state[mine[0]]["step"].item() == 8.0

    opt = gdfast.torch.NAdam(mine)
    run(opt, mine, range(2), skip=(0,))
    opt.load_state_dict(opt.state_dict())
    assert mine[0] not in opt.state
    assert opt.state[mine[1]]["mu_product"].dtype == torch.float64

    opt = gdfast.torch.SGD(mine, lr=0.1, momentum=0.9, dampening=0.5)
    opt.load_state_dict({**opt.state_dict(), "state": {0: {"momentum_buffer": None}}})
    run(opt, mine, range(1))
    assert opt.state[mine[0]]["momentum_buffer"].equal(mine[0].grad)


def test_steps_are_counted_as_pytorch_does():
    before = torch.get_default_dtype()
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            mine = parameters(torch.float32)
            opt = gdfast.torch.Adam(mine)
            run(opt, mine, range(2))
        finally:
            torch.set_default_dtype(before)
        step = opt.state[mine[0]]["step"]
        assert (step.dtype, step.shape, step.item()) == (dtype, (), 2.0)


def test_state_that_does_not_fit_is_refused():
    w = torch.nn.Parameter(torch.ones(3))
    opt = gdfast.torch.Adam([w])
    w.grad = torch.ones(3)
    for wrong, got in (
        (torch.ones(2), r"torch.float32, shape \(2,\)"),
        (torch.ones(3).double(), "float64"),
        (1.0, "1.0"),
    ):
        opt.state[w] = {"step": torch.tensor(1.0), "exp_avg": wrong, "exp_avg_sq": torch.ones(3)}
        with pytest.raises(ValueError, match=f'state "exp_avg" of .*params"]\\[0\\] must be .*; got .*{got}'):
            opt.step()
    opt.state[w] = {"step": torch.tensor(1.0), "exp_avg": w.detach(), "exp_avg_sq": torch.ones(3)}
    with pytest.raises(ValueError, match="must not share memory"):
        opt.step()
    assert w.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="different number of parameter groups"):
        opt.load_state_dict({"state": {}, "param_groups": []})


def test_whole_optimizer_with_its_model_through_torch_save():
    model = torch.nn.Linear(3, 2)
    opt = gdfast.torch.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    opt.step()
    file = io.BytesIO()
    torch.save((model, opt), file)
    file.seek(0)
    model, other = torch.load(file, weights_only=False)
    assert other.param_groups[0]["params"][0] is model.weight
    set_grads(list(model.parameters()), 0)
    other.step()
    assert other.state[model.weight]["step"].item() == 2.0


def test_named_parameters():
    model = torch.nn.Linear(3, 2)
    opt = gdfast.torch.SGD(model.named_parameters())
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_every_case_is_one_of_pytorch():
    assert {case.optimizer for case in CASES} == set(gdfast.torch.optimizers.__all__) - {"SparseAdam"}


def test_pytorchs_context_for_other_parameters_and_state():
    """Whoever holds a step count that is swapped in sees it go on."""

    def train(module):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        opt = module.Adam(model.parameters())
        run(opt, list(model.parameters()), range(2))
        saved = copy.deepcopy(opt.state_dict())
        others = {name: torch.nn.Parameter(p.detach() + 1) for name, p in model.named_parameters()}
        with module.swap_in_optimizer_params_and_state(opt, others, saved):
            run(opt, list(others.values()), range(2, 5))
        run(opt, list(model.parameters()), range(5, 6))
        return list(model.parameters()), others, saved["state"], opt.state_dict()["state"]

    ours, theirs = train(gdfast.torch), train(torch.optim)
    torch.testing.assert_close(ours, theirs)
    assert (ours[2][0]["step"].item(), ours[3][0]["step"].item()) == (5.0, 3.0)
