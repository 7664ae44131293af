"""`gdfast.torch` with parameters of every kind: frozen ones of any, gaps, complex numbers, what is made later."""

import copy
import math

import pytest
from torch_cases import CASES, EACH, torch

import gdfast.torch

nn = torch.nn

FROZEN = {
    "bfloat16": lambda: torch.ones(3).bfloat16(),
    "float16": lambda: torch.ones(3).half(),
    "int64": lambda: torch.ones(3).long(),
    "bool": lambda: torch.ones(3).bool(),
    "complex32": lambda: torch.ones(3, dtype=torch.complex32),
    "meta": lambda: torch.ones(3, device="meta"),
    "expanded": lambda: torch.ones(1).expand(3),
    "with gaps": lambda: torch.ones(6)[::2],
    "conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "another float": lambda: torch.ones(3, dtype=torch.float64),
}


@EACH
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("kind", FROZEN)
def test_a_parameter_without_a_gradient_may_be_of_any_kind(case, kind):
    frozen = nn.Parameter(FROZEN[kind](), requires_grad=False)
    mine, its = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    opt, other = case.ours([frozen, mine]), case.theirs([its])
    for _ in range(3):
        mine.grad, its.grad = torch.ones(4), torch.ones(4)
        opt.step()
        other.step()
    torch.testing.assert_close(mine, its)
    opt.load_state_dict(opt.state_dict())


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_frozen_parameter_may_be_sparse(layout):
    frozen = nn.Parameter(torch.eye(3).to_sparse(layout=layout), requires_grad=False)
    w = nn.Parameter(torch.ones(2))
    opt = gdfast.torch.Adam([frozen, w], lr=0.5)
    w.grad = torch.ones(2)
    opt.step()
    torch.testing.assert_close(w.detach(), torch.full((2,), 0.5))


def test_the_range_of_a_hyperparameter_is_that_of_what_is_stepped():
    """An eps that float32 cannot hold does no harm to a frozen float32 parameter, but to one that has a gradient."""
    frozen, w = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2, dtype=torch.float64))
    opt = gdfast.torch.Adam([frozen, w], eps=1e-50)
    w.grad = torch.ones_like(w)
    opt.step()
    before = w.detach().clone()
    frozen.grad = torch.ones(2)
    with pytest.raises(ValueError, match="eps must not round to zero in float32"):
        opt.step()
    assert torch.equal(w.detach(), before)
    for dtype in (torch.float32, torch.complex64):
        with pytest.raises(ValueError, match="eps must not round to zero in float32"):
            gdfast.torch.Adam([nn.Parameter(torch.ones(2, dtype=dtype))], eps=1e-50)


@EACH
def test_meta_first_and_memory_later(case):
    """With PyTorch's swapping, a module's parameters stay the same objects."""

    def train(optimizer):
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with torch.device("meta"):
                model = nn.Linear(3, 2)
            opt = optimizer(model.parameters())
            opt.step()
            model.to_empty(device="cpu")
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape))
        for _ in range(3):
            opt.zero_grad()
            (model(torch.ones(4, 3)) ** 2).sum().backward()
            opt.step()
        return model.weight.detach()

    ours = train(case.ours)
    assert not torch.equal(ours, torch.linspace(-1, 1, 6).reshape(2, 3))
    if case.optimizer != "Adagrad":  # whose state PyTorch leaves on meta
        torch.testing.assert_close(ours, train(case.theirs))


@pytest.mark.parametrize("case", [case for case in CASES if case.optimizer != "Adagrad"], ids=str)
def test_lazy_modules(case):
    """PyTorch's Adagrad refuses them when it is made, since it makes its state then."""

    def train(optimizer):
        torch.manual_seed(0)
        model = nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.LazyLinear(1))
        opt = optimizer(model.parameters())
        opt.step()
        for _ in range(3):
            opt.zero_grad()
            model(torch.linspace(-1, 1, 8).reshape(4, 2)).sum().backward()
            opt.step()
        return list(model.parameters())

    torch.testing.assert_close(train(case.ours), train(case.theirs))


GAPS = {
    "a column": lambda draw: draw(6, 3)[:, 0],
    "every second": lambda draw: draw(3, 8)[:, ::2],
    "a corner": lambda draw: draw(5, 6).t()[1:4, :3],
    "a slice of channels": lambda draw: draw(2, 6, 4, 4).to(memory_format=torch.channels_last)[:, 1:4],
    "one element": lambda draw: draw(4)[2],
    "nothing": lambda draw: draw(4, 4)[::2, :0],
}


@EACH
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_parameters_with_gaps_and_complex_ones(case, is_complex):
    dtype = torch.complex128 if is_complex else torch.float64

    def params():
        generator = torch.Generator().manual_seed(5)
        return [
            nn.Parameter(make(lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)))
            for make in GAPS.values()
        ]

    mine, its = params(), params()
    opt, other = case.ours(mine, ema_decay=0.5), case.theirs(its, foreach=False)
    addresses, strides = [p.data_ptr() for p in mine], [p.stride() for p in mine]
    generator = torch.Generator().manual_seed(6)
    for step in range(5):
        for p, q in zip(mine, its, strict=True):
            grad = torch.randn(p.shape, generator=generator, dtype=dtype)
            if step < 2:  # in the order of the parameter's elements, which PyTorch's momentum_buffer takes over
                grad = torch.empty_like(q).detach().copy_(grad)
            p.grad, q.grad = grad.clone(), grad
        if step == 2:
            for one, two in ((opt, other), (other, opt)):  # both ways
                saved = {"state": two.state_dict()["state"], "param_groups": one.state_dict()["param_groups"]}
                one.load_state_dict(copy.deepcopy(saved))
        opt.step()
        other.step()
    torch.testing.assert_close(mine, its, rtol=max(case.rtol, 1e-9), atol=1e-12, check_stride=True)
    assert [p.data_ptr() for p in mine] == addresses
    assert [p.stride() for p in mine] == strides
    for p, q in zip(mine, its, strict=True):
        for name, value in opt.state[p].items():
            if value.shape == p.shape and p.ndim and p.numel() and name != "ema":
                assert (value.dtype, value.stride()) == (q.dtype, other.state[q][name].stride())


def test_what_lies_in_the_gaps_is_left_alone():
    whole = torch.ones(6, 3)
    w = nn.Parameter(whole[:, 1])
    opt = gdfast.torch.SGD([w], lr=1.0)
    w.grad = torch.ones(6)
    opt.step()
    assert whole.tolist() == [[1.0, 0.0, 1.0]] * 6


def test_columns_of_one_matrix():
    whole = torch.ones(4, 3)
    columns = [nn.Parameter(whole[:, i]) for i in range(3)]
    opt = gdfast.torch.Adam(columns, lr=0.5)
    for i, column in enumerate(columns[:2]):
        column.grad = torch.full((4,), float(i + 1))
    opt.step(zero_grad=True)
    torch.testing.assert_close(whole, torch.tensor([[0.5, 0.5, 1.0]] * 4))
    assert not columns[1].grad.any()


SHARED = [
    (lambda x: x[::2], lambda x: x[::3]),
    (lambda x: x[::2], lambda x: x[3:6]),
    (lambda x: x[3:6], lambda x: x[::2]),
    (lambda x: torch.view_as_complex(x.reshape(-1, 2))[::2], lambda x: x[1::4]),
]


@pytest.mark.parametrize("views", SHARED)
def test_parameters_with_gaps_in_the_same_memory_are_refused(views):
    memory = torch.ones(24)
    params = [nn.Parameter(view(memory)) for view in views]
    opt = gdfast.torch.SGD(params, lr=1.0)
    for p in params:
        p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r'\["params"\]\[[01]\] and .*\["params"\]\[[01]\] must not share memory'):
        opt.step()
    assert torch.equal(memory, torch.ones(24))


def test_state_in_the_memory_of_a_parameter_with_gaps_is_refused():
    memory = torch.ones(20)
    w = nn.Parameter(memory[::2])
    opt = gdfast.torch.SGD([w], lr=1.0, momentum=0.5)
    w.grad = torch.ones(10)
    opt.step()
    opt.state[w]["momentum_buffer"] = memory[1:11]
    with pytest.raises(ValueError, match=r"momentum_buffer.* must not share memory"):
        opt.step()


def test_a_step_through_a_copy_is_all_or_nothing():
    whole = torch.ones(6)
    w, v = nn.Parameter(whole[::2]), nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD([w, v], lr=1.0, nonfinite="raise")
    w.grad, v.grad = torch.ones(3), torch.tensor([1.0, math.nan, 1.0])
    with pytest.raises(FloatingPointError):
        opt.step()
    v.grad = torch.ones(3)
    v.grad.data = torch.ones(3).double()
    with pytest.raises(TypeError, match="must have its parameter's dtype"):
        opt.step()
    assert whole.tolist() == [1.0] * 6
    v.grad = torch.ones(3)
    opt.step()
    assert whole.tolist() == [0.0, 1.0] * 3


def test_what_a_user_writes_between_steps_counts():
    w = nn.Parameter(torch.ones(6)[::2])
    opt = gdfast.torch.SGD([w], lr=1.0)
    for value in (5.0, -3.0):
        w.data.fill_(value)
        w.grad = torch.ones(3)
        opt.step()
        assert w.tolist() == [value - 1.0] * 3


def test_a_gradient_in_the_memory_of_a_parameter_with_gaps():
    w = nn.Parameter(torch.ones(6)[::2])
    w.grad = w.detach()
    gdfast.torch.SGD([w], lr=0.25).step()
    assert w.tolist() == [0.75] * 3
    gdfast.torch.SGD([w], lr=0.25).step(zero_grad=True)
    assert w.grad.tolist() == [0.0] * 3


def test_autograd_notices_a_step_through_a_copy():
    w = nn.Parameter(torch.ones(4)[::2])
    opt = gdfast.torch.SGD([w])
    loss = (w**2).sum()
    w.grad = torch.ones(2)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_clipping_and_the_average_of_complex_numbers():
    z = nn.Parameter(torch.ones(4, 2, dtype=torch.complex128)[:, 0])
    opt = gdfast.torch.SGD([z], lr=1.0, clip_norm=1.0, ema_decay=0.5)
    z.grad = torch.full((4,), 3 + 4j, dtype=torch.complex128)
    opt.step(zero_grad=True)
    assert opt.last_norm == 10.0
    torch.testing.assert_close(z.detach(), torch.full((4,), 0.7 - 0.4j, dtype=torch.complex128))
    assert not z.grad.any()
    with opt.averaged():
        torch.testing.assert_close(z.detach(), torch.full((4,), 0.85 - 0.2j, dtype=torch.complex128))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("shape", [(3,), (1,), ()])
def test_conjugations_to_be_applied_later(dtype, shape):
    z = nn.Parameter(torch.ones(shape, dtype=dtype))
    opt = gdfast.torch.SGD([z], lr=1.0)
    for grad in (torch.full(shape, 2 + 1j, dtype=dtype).conj(), torch._neg_view(torch.full(shape, 1j, dtype=dtype))):
        z.grad = grad
        opt.step()
    torch.testing.assert_close(z.detach(), torch.full(shape, -1 + 2j, dtype=dtype))


def test_sparse_gradients_of_complex_numbers():
    z = nn.Parameter(torch.ones(3, 2, dtype=torch.complex64))
    z.grad = torch.tensor([[1j, 0], [0, 0], [0, 2]], dtype=torch.complex64).to_sparse()
    gdfast.torch.SGD([z], lr=1.0).step()
    assert z.tolist() == [[1 - 1j, 1], [1, 1], [1, -1]]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_gradients_in_fewer_bits(kind):
    w = nn.Parameter(torch.ones(3))
    w.grad_dtype = kind
    w.grad = torch.full((3,), 0.5, dtype=kind)
    gdfast.torch.SGD([w], lr=1.0).step()
    assert w.tolist() == [0.5] * 3
