"""`gdfast.torch` on tensors of every dense layout, which are stepped in place; what shares memory."""

import pytest
from torch_cases import EACH, run, torch

import gdfast.torch

nn = torch.nn


def of_every_layout():
    """Return parameters in all orders of dimensions, some with gaps in the numbering of strides."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tensors = [
        draw(4, 3).t(),
        draw(2, 3, 4, 5).to(memory_format=torch.channels_last),
        draw(2, 3, 4, 5, 2).to(memory_format=torch.channels_last_3d),
        draw(4, 1, 3, 3).to(memory_format=torch.channels_last),
        draw(5, 2, 3).permute(2, 0, 1),
        draw(20)[7:13],
        torch.as_strided(draw(3), (1, 3), (17, 1)),
        draw(0, 4).t(),
    ]
    return [nn.Parameter(tensor) for tensor in tensors]


GRADS = {
    "like the parameter": lambda param, grad: torch.empty_like(param).detach().copy_(grad),
    "contiguous": lambda param, grad: grad.contiguous(),
    "with gaps": lambda param, grad: torch.stack([grad, grad], -1)[..., 0],
    "expanded": lambda param, grad: grad.sum().expand(param.shape),
    "with a graph": lambda param, grad: torch.empty_like(param).detach().copy_(grad).requires_grad_(),
    "the parameter itself": lambda param, grad: param.detach(),
}


@EACH
@pytest.mark.parametrize("how", GRADS)
def test_every_layout_of_parameters_and_gradients(case, how):
    mine, its = of_every_layout(), of_every_layout()
    opt, other = case.ours(mine), case.theirs(its, foreach=False)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        for p, q in zip(mine, its, strict=True):
            grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.grad, q.grad = GRADS[how](p, grad), GRADS[how](q, grad).detach().clone()
        addresses = [p.data_ptr() for p in mine]
        opt.step()
        other.step()
        assert [p.data_ptr() for p in mine] == addresses
    torch.testing.assert_close(mine, its, rtol=case.rtol, atol=1e-14)
    for p in mine:
        for name, value in opt.state.get(p, {}).items():
            assert value.ndim == 0 or [s for s, n in zip(value.stride(), p.shape, strict=True) if n > 1] == [
                s for s, n in zip(p.stride(), p.shape, strict=True) if n > 1
            ], name


def test_state_of_another_layout_is_taken_over():
    weight = torch.randn(2, 3, 4, 5)
    mine, its = nn.Parameter(weight.to(memory_format=torch.channels_last)), nn.Parameter(weight.clone())
    opt, other = gdfast.torch.Adam([mine]), torch.optim.Adam([its])
    for step in range(4):
        grad = torch.sin(weight + step)
        mine.grad, its.grad = grad.to(memory_format=torch.channels_last), grad
        if step == 2:
            opt.load_state_dict(other.state_dict())
        other.step()
        if step >= 2:
            opt.step()
        else:
            mine.data.copy_(its.data)
    torch.testing.assert_close(mine, its, check_stride=False)
    assert opt.state[mine]["exp_avg"].is_contiguous(memory_format=torch.channels_last)


def test_a_restrided_parameter_takes_its_state_along():
    """The same memory with its dimensions exchanged: state stays with the index, not with the address."""
    mine, its = (nn.Parameter(torch.arange(6.0).reshape(2, 3)) for _ in range(2))
    for opt, w in ((gdfast.torch.SGD([mine], momentum=0.9), mine), (torch.optim.SGD([its], momentum=0.9), its)):
        run(opt, [w], range(2))
        w.grad = None
        w.data = torch.as_strided(w.data, (2, 3), (1, 2))
        run(opt, [w], range(2, 4))
    torch.testing.assert_close(mine, its)


@pytest.mark.parametrize(
    "lazy", [torch.tensor([3.0 + 4.0j]).conj().imag, torch._neg_view(torch.full((3,), 4.0))], ids=["autograd", "dense"]
)
def test_sign_to_be_applied_later(lazy):
    """Autograd hands out gradients whose sign bit is lazy; the strides need not betray it."""
    w = nn.Parameter(torch.ones(lazy.shape))
    opt = gdfast.torch.SGD([w], lr=1.0)
    for now in (5.0, 9.0):
        assert lazy.is_neg()
        w.grad = lazy
        opt.step()
        assert torch.equal(w.detach(), torch.full_like(w, now))


def test_two_parameters_with_one_gradient():
    mine = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    opt = gdfast.torch.SGD(mine, lr=1.0)
    shared = torch.ones(3)
    for p in mine:
        p.grad = shared
    opt.step(zero_grad=True)
    assert [p.tolist() for p in mine] == [[0.0] * 3] * 2
    assert shared.tolist() == [0.0] * 3


def test_parameters_in_the_same_memory_are_refused():
    memory = torch.ones(4)
    opt = gdfast.torch.SGD([nn.Parameter(memory[:3]), nn.Parameter(memory[2:])])
    with pytest.raises(ValueError, match=r'\["params"\]\[0\] and .*\["params"\]\[1\] must not share memory'):
        run(opt, opt.param_groups[0]["params"], range(1))


def test_a_parameter_named_twice_is_stepped_once():
    w = nn.Parameter(torch.ones(2))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = gdfast.torch.SGD([w, w], lr=0.5)
    w.grad = torch.ones(2)
    for _ in range(2):
        opt.step()
    assert w.tolist() == [0.0, 0.0]


def test_tied_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.outer.weight = self.inner.weight

    torch.manual_seed(0)
    mine = Tied()
    its = Tied()
    its.load_state_dict(mine.state_dict())
    for model, opt in ((mine, gdfast.torch.Adam(mine.parameters())), (its, torch.optim.Adam(its.parameters()))):
        for _ in range(3):
            opt.zero_grad()
            model.outer(model.inner(torch.tensor([1, 2]))).sum().backward()
            opt.step()
    torch.testing.assert_close(mine.inner.weight, its.inner.weight)


def test_no_parameter_has_a_gradient():
    opt = gdfast.torch.Adam([nn.Parameter(torch.ones(2))], clip_norm=1.0, nonfinite="raise")
    opt.step(zero_grad=True)
    assert (dict(opt.state), opt.last_norm) == ({}, 0.0)


def test_gradients_are_released():
    import weakref

    w = nn.Parameter(torch.ones(2))
    opt = gdfast.torch.SGD([w])
    w.grad = torch.ones(2)
    seen = weakref.ref(w.grad)
    opt.step()
    w.grad = None
    assert seen() is None
