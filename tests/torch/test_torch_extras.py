"""What `gdfast.torch` adds to PyTorch's step: clipping, the guard, zeroing, the average; threads, autograd's watch."""

import threading

import pytest
from torch_cases import CASES, EACH, parameters, run, set_grads, torch

import gdfast.torch


@EACH
def test_clipping_is_that_of_pytorch(case):
    mine, its = parameters(), parameters()
    opt, other = case.ours(mine, clip_norm=0.7, clip_value=0.2), case.theirs(its)
    for step in range(4):
        set_grads(mine, step)
        set_grads(its, step)
        norm = torch.nn.utils.clip_grad_norm_(its, 0.7)
        torch.nn.utils.clip_grad_value_(its, 0.2)
        opt.step()
        other.step()
        assert opt.last_norm == pytest.approx(norm.item(), rel=1e-12)
    torch.testing.assert_close(mine, its, rtol=case.rtol, atol=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite(bad):
    mine = parameters()
    before = [p.detach().clone() for p in mine]
    set_grads(mine, 0)
    mine[2].grad[3] = bad
    skip, refuse = gdfast.torch.Adam(mine, nonfinite="skip"), gdfast.torch.Adam(mine, nonfinite="raise")
    skip.step()
    assert (skip.skipped_steps, skip.state[mine[0]]["step"].item()) == (1, 0.0)
    with pytest.raises(
        FloatingPointError, match=r'step 0 are not finite: param_groups\[0\]\["params"\]\[2\]\.grad \(.*1'
    ):
        refuse.step()
    assert all(map(torch.equal, mine, before))
    gdfast.torch.Adam(mine).step()
    assert not torch.isfinite(mine[2]).all()
    run(skip, mine[:2], range(1))
    assert skip.skipped_steps == 2  # mine[2].grad still is what it was


def test_a_step_that_was_skipped_first_is_not_counted():
    """SGD's first step weighs the gradient alone, and shows no count in its state."""
    w = torch.nn.Parameter(torch.zeros(1))
    opt = gdfast.torch.SGD([w], lr=1.0, momentum=0.5, dampening=0.5, nonfinite="skip")
    for value in (float("nan"), 1.0, 1.0):
        w.grad = torch.tensor([value])
        opt.step()
        opt.param_groups[0]["lr"] = 1.0
    assert w.item() == -1.0 - (0.5 * 1.0 + 0.5 * 1.0)


@EACH
@pytest.mark.parametrize("copied", [False, True])
def test_zeroing_in_the_step(case, copied):
    mine, its = parameters(), parameters()
    opt, other = case.ours(mine), case.ours(its)
    run(other, its, range(2))
    for step in range(2):
        set_grads(mine, step)
        if copied:
            mine[0].grad = mine[0].grad.t().contiguous().t()
        grads = [p.grad for p in mine]
        opt.step(zero_grad=True)
        assert not any(g.any() for g in grads)
        assert all(p.grad is g for p, g in zip(mine, grads, strict=True))
    assert all(map(torch.equal, mine, its))
    opt.zero_grad(set_to_none=False)
    opt.zero_grad()
    assert all(p.grad is None for p in mine)


@EACH
def test_the_average(case):
    mine, its = parameters(), parameters()
    opt = case.ours(mine, ema_decay=0.9)
    plain = case.ours(its)
    average = [p.detach().clone() for p in its]
    for step in range(5):
        run(opt, mine, range(step, step + 1))
        run(plain, its, range(step, step + 1))
        average = [0.9 * a + (1.0 - 0.9) * p.detach() for a, p in zip(average, its, strict=True)]
    assert all(map(torch.equal, mine, its))
    torch.testing.assert_close([opt.state[p]["ema"] for p in mine], average)
    with opt.averaged():
        torch.testing.assert_close([p.detach() for p in mine], average)
        with pytest.raises(RuntimeError, match="stepping this"):
            opt.step()
    assert all(map(torch.equal, mine, its))
    with pytest.raises(AttributeError, match="keeps no average"), plain.averaged():
        pass
    torch.optim.SGD(mine).load_state_dict(
        {**opt.state_dict(), "param_groups": torch.optim.SGD(mine).state_dict()["param_groups"]}
    )


@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_threads_do_not_change_a_bit(case):
    def train(n_threads):
        torch.manual_seed(1)
        w = torch.nn.Parameter(torch.randn(300_001))
        opt = case.ours([w], n_threads=n_threads, clip_norm=1.0)
        for _ in range(3):
            w.grad = torch.randn(300_001)
            opt.step()
        return w.detach()

    first, *others = map(train, (1, 2, 3, None))
    assert all(torch.equal(first, other) for other in others)


def test_autograd_notices_a_step_between_forward_and_backward():
    w = torch.nn.Parameter(torch.ones(2))
    opt = gdfast.torch.SGD([w])
    loss = (w**2).sum()
    w.grad = torch.ones(2)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_thread_at_a_time():
    opt = gdfast.torch.SGD([torch.nn.Parameter(torch.ones(1))])
    found = []

    def step():
        try:
            opt.step()
        except RuntimeError as error:
            found.append(str(error))

    with opt._stepping:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert found == ["another thread is stepping this SGD; one at a time"]


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("inf_at", [None, 2])
def test_grad_scaler(fused, inf_at):
    def train(optimizer):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        opt = optimizer(model.parameters(), lr=0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
        for step in range(6):
            opt.zero_grad()
            loss = model(torch.randn(3, 4)).square().mean() * (float("inf") if step == inf_at else 1.0)
            scaler.scale(loss).backward()
            if step % 2:
                scaler.unscale_(opt)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(opt)
            scaler.update()
        return [p.detach() for p in model.parameters()], scaler.get_scale(), opt.state[model.weight]["step"].item()

    torch.testing.assert_close(train(gdfast.torch.Adam), train(torch.optim.Adam))


def test_scaler_hands_arguments_on():
    w = torch.nn.Parameter(torch.ones(1))
    opt = gdfast.torch.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    scaler.step(opt, zero_grad=True)
    assert (w.item(), w.grad.item()) == (0.0, 0.0)


def test_averages_that_are_switched_later():
    w = torch.nn.Parameter(torch.ones(2))
    opt = gdfast.torch.SGD([w], lr=1.0)
    on, off = gdfast.torch.SGD([w], ema_decay=0.5).averaging, opt.averaging
    for step, averaging in enumerate([off, on, off, on]):
        opt.averaging = averaging
        w.grad = torch.ones(2)
        opt.step()
        if step:
            assert opt.state[w]["ema"].tolist() == [[-0.5] * 2, [-0.5] * 2, [-1.75] * 2][step - 1]


def test_state_that_another_thread_changes_meanwhile(monkeypatch):
    w = torch.nn.Parameter(torch.ones(2))
    w.grad = torch.ones(2)
    opt = gdfast.torch.SGD([w], lr=1.0)
    monkeypatch.setattr("gdfast.torch.binding.Binding.holds", lambda self, groups, state: False)
    with pytest.raises(RuntimeError, match="was changed by another thread during the step"):
        opt.step()
    assert w.tolist() == [1.0, 1.0]


def test_a_skipped_step_zeroes_the_gradients_that_spoilt_it():
    """Otherwise all that the next backward passes add to them is not finite either, and every step is skipped."""
    w, v = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = gdfast.torch.SGD([w, v], lr=1.0, nonfinite="skip")
    for factor in (torch.nan, 1.0):
        (factor * w.sum() + v.sum()).backward()
        opt.step(zero_grad=True)
        assert w.grad.tolist() == v.grad.tolist() == [0.0, 0.0]
    assert (opt.skipped_steps, w.tolist(), v.tolist()) == (1, [0.0, 0.0], [0.0, 0.0])
