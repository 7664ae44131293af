"""Tensors of `gdfast.torch` that show values which are not in their memory: read right, or refused before any write."""

import pytest
from torch_cases import torch

import gdfast.torch

nn = torch.nn
masked = pytest.importorskip("torch.masked")


def fake(tensor):
    return torch._subclasses.FakeTensorMode().from_tensor(tensor)


def in_vmap(make_step):
    torch.vmap(lambda row: make_step(row) or row)(torch.ones(2, 3))


GRADS = {
    "fake": (lambda: fake(torch.ones(3)), "got FakeTensor, which has its own operations"),
    "a part of a fake one": (lambda: fake(torch.ones(8))[4:7], "got FakeTensor"),
    "masked": (lambda: masked.masked_tensor(torch.ones(3), torch.tensor([True, False, True])), "got MaskedTensor"),
    "functional": (lambda: torch._to_functional_tensor(torch.ones(8))[4:7], "inside a transformation of torch.func"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("kind", GRADS)
def test_gradients_whose_memory_is_not_theirs_are_refused(kind):
    make, match = GRADS[kind]
    first, w = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    first.grad, w.grad = torch.ones(2), make()
    opt = gdfast.torch.SGD([first, w], lr=1.0)
    with pytest.raises(TypeError, match=rf'\["params"\]\[1\]\.grad must be a plain dense tensor; got .*{match[4:]}'):
        opt.step()
    assert (first.tolist(), w.tolist()) == ([1.0, 1.0], [1.0, 1.0, 1.0])


def test_a_gradient_inside_vmap_is_refused():
    w = nn.Parameter(torch.ones(3))

    def step(row):
        w.grad = row
        gdfast.torch.SGD([w], lr=1.0).step()

    with pytest.raises(TypeError, match=r"got one inside a transformation of torch\.func"):
        in_vmap(step)
    assert w.tolist() == [1.0, 1.0, 1.0]


def test_parameters_whose_memory_is_not_theirs_are_refused():
    for make, error, match in (
        (lambda: fake(torch.ones(3)), TypeError, "got FakeTensor"),
        (lambda: torch._to_functional_tensor(torch.ones(3)), TypeError, "inside a transformation of torch.func"),
        (lambda: torch._efficientzerotensor(3), ValueError, "or zeros without memory"),
    ):
        w = make().requires_grad_()
        with torch.no_grad():
            w.grad = torch.ones_like(w) if "FakeTensor" in match else torch.ones(3)
        with pytest.raises(error, match=match):
            gdfast.torch.SGD([w], lr=1.0).step()


def test_zeros_that_never_had_memory_are_zeros():
    """Autograd's zeros: the address of a part of them is an offset from nothing."""
    w = nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD([w], lr=1.0, momentum=0.5)
    for grad in (torch.ones(3), torch._efficientzerotensor(3), torch._efficientzerotensor(8)[4:7]):
        w.grad = grad
        opt.step(zero_grad=True)
        assert not w.grad.any()
    assert w.tolist() == [-0.75] * 3
    opt.state[w]["momentum_buffer"] = torch._efficientzerotensor(3)
    opt.step()
    assert w.tolist() == [-0.75] * 3


def test_a_part_of_memory_that_was_given_back_is_refused():
    w, whole = nn.Parameter(torch.ones(3)), torch.ones(8)
    w.grad = whole[4:7]
    opt = gdfast.torch.SGD([w], lr=1.0)
    opt.step()
    whole.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"\.grad must have its elements in memory; its storage has been resized"):
        opt.step()
    assert w.tolist() == [0.0] * 3


def test_a_gradient_of_a_subclass_that_is_its_memory():
    class Named(torch.Tensor):
        pass

    w = nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD([w], lr=1.0, momentum=0.5)
    for _ in range(2):
        w.grad = torch.ones(3).as_subclass(Named)
        opt.step(zero_grad=True)
    assert w.tolist() == [-1.5] * 3
    assert w.grad.tolist() == [0.0] * 3
    assert type(opt.state[w]["momentum_buffer"]) is torch.Tensor
