"""`gdfast.torch` under users who swap, resize and twist tensors between steps: right, or refused before any write."""

import math

import pytest
from torch_cases import torch

import gdfast.torch

nn = torch.nn
# PyTorch's own, in the making of sparse tensors
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def made_in_inference_mode(*shape):
    with torch.inference_mode():
        return torch.ones(shape)


def stepped(name="SGD", tensor=None, **options):
    """Return an optimizer, a parameter for mischief, and one before it that shows whether a refused step wrote."""
    first, w = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(4) if tensor is None else tensor)
    opt = getattr(gdfast.torch, name)([first, w], lr=0.5, **options)
    first.grad, w.grad = torch.ones(2), torch.ones_like(w)
    opt.step()
    return opt, w, first


def refused(opt, first, error, match):
    before = first.detach().clone()
    with pytest.raises(error, match=match):
        opt.step()
    assert torch.equal(first.detach(), before)


def emptied(n, step=1):
    tensor = torch.ones(n)[::step]
    tensor.untyped_storage().resize_(0)
    return tensor


# Another tensor at the address of the first.


def test_another_dtype_at_the_same_address():
    memory = torch.ones(16, dtype=torch.float64)
    opt, w, _ = stepped(tensor=memory.view(torch.float32)[:4].fill_(1.0))
    w.grad, memory[:] = None, 1.0
    w.data = memory[:4]
    w.grad = torch.ones_like(w)
    opt.step()
    assert memory.tolist() == [0.5] * 4 + [1.0] * 12


def test_gaps_at_the_same_address():
    memory = torch.ones(16)
    opt, w, _ = stepped(tensor=memory[:4])
    w.data = memory[:8:2]
    opt.step()
    assert memory.tolist() == [0.0, 0.5, 0.0, 0.5, 0.5, 1.0, 0.5, 1.0] + [1.0] * 8


def test_no_gaps_at_the_same_address():
    memory = torch.ones(16)
    opt, w, _ = stepped(tensor=memory[:8:2])
    w.data = memory[:4]
    opt.step()
    assert memory.tolist() == [0.0, 0.5, 0.0, 0.5, 0.5, 1.0, 0.5, 1.0] + [1.0] * 8


def test_another_shape_at_the_same_address():
    opt, w, _ = stepped(tensor=torch.ones(2, 3))
    w.grad = None
    w.data = w.data.view(3, 2)
    w.grad = torch.arange(6.0).reshape(3, 2)
    opt.step()
    torch.testing.assert_close(w.detach(), 0.5 - 0.5 * torch.arange(6.0).reshape(3, 2))


def test_integers_at_the_same_address():
    opt, w, first = stepped()
    w.requires_grad, w.grad = False, None
    w.data = w.data.view(torch.int32)
    w.grad = torch.ones(4, dtype=torch.int32)
    refused(opt, first, TypeError, r'\["params"\]\[1\] must be float32 or float64.*; got torch.int32')


@pytest.mark.parametrize("shape", [(4,), (1,), ()])
def test_conjugates_at_the_same_address(shape):
    opt, z, first = stepped(tensor=torch.ones(shape, dtype=torch.complex64), momentum=0.5)
    z.data = z.data.conj()
    refused(opt, first, ValueError, "must hold its values itself; got a conjugate or negative view")
    z.data = z.data.conj()
    buffer = opt.state[z]["momentum_buffer"]
    buffer.data = torch.full(shape, 1 + 1j, dtype=torch.complex64).conj()
    z.grad.zero_()
    before = z.detach().clone()
    opt.step()
    torch.testing.assert_close(z.detach(), before - 0.25 * (1 - 1j))


def test_a_negative_at_the_same_address():
    memory = torch.tensor([1 + 1j])
    opt, w, first = stepped(tensor=memory.imag)
    w.data = memory.conj().imag
    refused(opt, first, ValueError, "must hold its values itself")


def test_other_memory():
    opt, w, _ = stepped(momentum=0.5)
    with torch.no_grad():
        w.set_(torch.zeros(4))
    opt.step()
    assert w.tolist() == [-0.75] * 4
    torch.utils.swap_tensors(w, nn.Parameter(torch.ones(4)))
    w.grad = torch.ones(4)
    opt.step()
    assert torch.isfinite(w).all()


# Parameters that cannot be stepped: refused once they have a gradient.

WRONG = {
    "float8": (
        lambda: torch.ones(4).to(torch.float8_e5m2),
        TypeError,
        "must be float32 or float64, real or complex, or bfloat16 or float16, .*; got torch.float8_e5m2",
    ),
    "meta": (lambda: torch.ones(4, device="meta"), ValueError, "must be on the CPU .*; got device 'meta'"),
    "expanded": (lambda: torch.ones(1).expand(4), ValueError, r"must have separate memory .* \(0,\) for shape \(4,\)"),
    "overlapping": (
        lambda: torch.ones(6).as_strided((3, 2), (1, 1)),
        ValueError,
        "must have separate memory for each element",
    ),
    "sparse": (
        lambda: torch.eye(4).to_sparse(),
        TypeError,
        "must be a plain dense tensor; got Parameter with layout torch.sparse",
    ),
    "conjugate": (lambda: torch.ones(4, dtype=torch.complex64).conj(), ValueError, "must hold its values itself"),
    "emptied": (lambda: emptied(4), ValueError, "must have its elements in memory; its storage has been resized"),
    "inference": (lambda: made_in_inference_mode(4), ValueError, "must not be made in inference mode"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_stepped_is_refused_when_it_has_a_gradient(kind):
    make, error, match = WRONG[kind]
    first, bad = nn.Parameter(torch.ones(2)), nn.Parameter(make(), requires_grad=False)
    opt = gdfast.torch.SGD([{"params": [first]}, {"params": [nn.Parameter(torch.ones(1))]}], lr=1.0)
    opt.add_param_group({"params": [bad]})
    first.grad = torch.ones(2)
    opt.step()
    sparse = bad.layout != torch.strided
    bad.grad = bad.detach() if sparse else torch.ones(bad.shape, dtype=bad.dtype, device=bad.device)
    refused(opt, first, error, rf'param_groups\[2\]\["params"\]\[0\] {match}')
    assert bad not in opt.state
    bad.grad = None
    opt.step()
    assert first.tolist() == [-1.0, -1.0]


def test_a_tensor_that_wraps_others_is_refused():
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor(torch.ones(3), torch.ones(3))
    first, w = nn.Parameter(torch.ones(2)), nn.Parameter(two)
    opt = gdfast.torch.SGD([first, w])
    first.grad, w.grad = torch.ones(2), two
    refused(opt, first, TypeError, r'\["params"\]\[1\] must be a plain dense tensor; got TwoTensor, which wraps others')


def test_a_parameter_that_has_become_unfit_matters_with_its_next_gradient():
    opt, w, first = stepped()
    w.grad = None
    torch.utils.swap_tensors(w, nn.Parameter(torch.ones(4, device="meta")))
    opt.step()
    assert first.tolist() == [0.0, 0.0]
    w.grad = torch.ones(4, device="meta")
    refused(opt, first, ValueError, "must be on the CPU")


def test_parameters_take_turns():
    """Which parameters have a gradient may change in every step, without a loss of what they carry."""
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    its = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    opt, other = gdfast.torch.NAdam(params), torch.optim.NAdam(its)
    for step in range(12):
        for i, (p, q) in enumerate(zip(params, its, strict=True)):
            p.grad = q.grad = torch.ones(2) if step % 3 != i else None
        if step == 6:
            torch.utils.swap_tensors(params[0], nn.Parameter(params[0].detach()[:, None].expand(2, 2)[:, 0]))
        opt.step()
        other.step()
    torch.testing.assert_close(params, its)


# Gradients.

GRADS = {
    "wider": (lambda: torch.ones(4).double(), TypeError, "dtype, torch.float32, or a narrower one; got torch.float64"),
    "integers": (lambda: torch.ones(4).long(), TypeError, "got torch.int64"),
    "float8": (lambda: torch.ones(4).to(torch.float8_e5m2), TypeError, "got torch.float8_e5m2"),
    "complex": (lambda: torch.ones(4) * 1j, TypeError, "got torch.complex64"),
    "to be broadcast": (lambda: torch.ones(1), ValueError, r"must have its parameter's shape, \(4,\); got \(1,\)"),
    "of another shape": (lambda: torch.ones(2, 2), ValueError, r"shape, \(4,\); got \(2, 2\)"),
    "emptied": (lambda: emptied(4), ValueError, "must have its elements in memory; its storage has been resized"),
}


@pytest.mark.parametrize("kind", GRADS)
@pytest.mark.parametrize("has_gaps", [False, True])
def test_gradients_that_do_not_fit_are_refused(kind, has_gaps):
    make, error, match = GRADS[kind]
    opt, w, first = stepped(tensor=torch.ones(8)[::2] if has_gaps else None)
    w.grad.data = make()
    refused(opt, first, error, rf'param_groups\[0\]\["params"\]\[1\]\.grad .*{match}')
    w.grad = torch.ones(4)
    opt.step()
    assert w.tolist() == [0.0] * 4


class Odd(nn.Parameter):
    """A parameter that hands out whatever it likes."""

    @property
    def grad(self):
        return self.handed_out


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_invalid_gradients_of_a_subclass():
    w, first = Odd(torch.ones(3, 3)), nn.Parameter(torch.ones(2))
    first.grad = torch.ones(2)
    for grad, error, match in (
        (3, TypeError, "must be a tensor; got int"),
        (
            torch.eye(3).to_sparse_csr(),
            TypeError,
            "must be a dense or a sparse COO tensor; got layout torch.sparse_csr",
        ),
        (torch.ones(3, 3, device="meta"), ValueError, "must be on the CPU"),
    ):
        w.handed_out = grad
        refused(gdfast.torch.SGD([first, w]), first, error, rf"\.grad {match}")
        with pytest.raises(RuntimeError, match="does not support dense gradients"):
            gdfast.torch.SparseAdam([w]).step()


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}], ids=str)
def test_invalid_sparse_gradients(name, options):
    if options and name != "SGD":
        name, options = "SGD", {**options, "nesterov": True}
    lies = {
        "rows": lambda: torch.sparse_coo_tensor([[0, 1]], torch.ones(2, 2), (3, 2)),
        "elements": lambda: torch.sparse_coo_tensor([[0, 1], [1, 1]], torch.ones(2), (3, 2)),
    }
    for kind, make in lies.items():
        for wrong in (10**12, -1):
            grad = make()
            grad._indices()[-1, 1] = wrong
            check_lie(name, options, grad, f"{wrong}" if kind == "rows" else r"\.grad must be a valid sparse tensor")
        for part in ("_indices", "_values"):
            grad = make()
            getattr(grad, part)().untyped_storage().resize_(0)
            check_lie(name, options, grad, "must have its elements in memory")


def check_lie(name, options, grad, match):
    w = nn.Parameter(torch.ones(3, 2))
    w.grad = grad
    with pytest.raises(ValueError, match=match):
        getattr(gdfast.torch, name)([w], **options).step()
    assert torch.equal(w.detach(), torch.ones(3, 2))


@pytest.mark.parametrize("make", [lambda: torch.ones(1).expand(4), lambda: made_in_inference_mode(8)[::2]])
def test_zeroing_gradients_that_others_cannot_write(make):
    w = nn.Parameter(torch.ones(4))
    w.grad = make()
    gdfast.torch.SGD([w], lr=0.5).step(zero_grad=True)
    assert w.tolist() == [0.5] * 4
    assert w.grad.tolist() == [0.0] * 4


def test_zeroing_nothing_that_is_expanded():
    w = nn.Parameter(torch.ones(0, 3))
    w.grad = torch.ones(1, 1).expand(1, 3)[:0]
    gdfast.torch.SGD([w]).step(zero_grad=True)
    assert w.grad.shape == (0, 3)


# The state.

STATE = {
    "resized": (lambda: torch.ones(4).resize_(0), "shape"),
    "integers": (lambda: torch.ones(4).long(), "torch.int64"),
    "meta": (lambda: torch.ones(4, device="meta"), "device meta"),
    "complex": (lambda: torch.ones(4) * 1j, "torch.complex64"),
    "sparse rows": (lambda: torch.ones(4, 1).to_sparse_csr(), "torch.sparse_csr"),
    "a list": (lambda: [1.0] * 4, r"\[1.0"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("kind", STATE)
def test_state_that_does_not_fit_is_refused(kind):
    make, match = STATE[kind]
    opt, w, first = stepped(momentum=0.5)
    opt.state[w]["momentum_buffer"] = make()
    refused(opt, first, ValueError, f'state "momentum_buffer" of .* must be a tensor like it.*; got .*{match}')


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1).expand(4),
        lambda: torch.ones(8)[::2],
        lambda: torch.ones(4).to_sparse(),
        lambda: torch._neg_view(-torch.ones(4)),
        lambda: made_in_inference_mode(4),
    ],
)
def test_state_of_another_kind_is_taken_over(make):
    opt, w, _ = stepped(momentum=0.5)
    opt.state[w]["momentum_buffer"] = make()
    opt.step()
    assert w.tolist() == [-0.25] * 4


def test_a_state_array_without_memory_is_refused():
    opt, w, first = stepped(momentum=0.5)
    sparse = torch.ones(4).to_sparse()
    sparse._values().untyped_storage().resize_(0)
    for tensor in (emptied(4), emptied(8, 2), sparse):
        opt.state[w]["momentum_buffer"] = tensor
        refused(opt, first, ValueError, 'state "momentum_buffer" of .* must have its elements in memory')


def test_invalid_sparse_state_is_refused():
    opt, w, first = stepped(momentum=0.5)
    opt.state[w]["momentum_buffer"] = lie = torch.ones(4).to_sparse()
    lie._indices()[0, 3] = 10**12
    refused(opt, first, ValueError, 'state "momentum_buffer" of .* must be a valid sparse tensor')


def test_state_that_wraps_other_tensors_is_refused():
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor(torch.ones(4), torch.ones(4))
    opt, w, first = stepped(momentum=0.5)
    opt.state[w]["momentum_buffer"] = two
    refused(opt, first, TypeError, "must be a plain dense tensor; got TwoTensor")


@pytest.mark.parametrize("inside", [False, True])
def test_state_made_in_inference_mode_serves_outside(inside):
    w, v = nn.Parameter(torch.ones(8)[::2]), nn.Parameter(torch.ones(4))
    opt = gdfast.torch.Adam([w, v])
    with torch.inference_mode():
        for p in (w, v):
            p.grad = torch.ones(4)
        opt.step()
    with torch.inference_mode(inside):
        opt.step()
    assert torch.equal(w, v)
    assert not any(value.is_inference() for value in opt.state[v].values())
    opt.state[v]["exp_avg"].zero_()


NUMBERS = [
    (lambda: "7x", TypeError, "must be a real number or a tensor of one; got '7x'"),
    (lambda: [7.0], TypeError, "must be a real number"),
    (lambda: torch.ones(2), ValueError, r"must be a real number or a tensor of one; got torch.float32, shape \(2,\)"),
    (lambda: torch.ones(()) * 1j, ValueError, "got torch.complex64"),
    (lambda: torch.ones(1).to_sparse(), ValueError, "layout torch.sparse_coo"),
    (lambda: torch.ones((), device="meta"), ValueError, "must be on the CPU"),
    (lambda: emptied(1), ValueError, "must have its elements in memory"),
    (lambda: math.nan, ValueError, r'"step" in the state of param_groups\[0\] must be in \[0, inf\); got nan'),
    (lambda: torch.tensor(math.inf), ValueError, "must be in .*; got inf"),
    (lambda: -1, ValueError, "must be in .*; got -1.0"),
]


@pytest.mark.parametrize(("make", "error", "match"), NUMBERS)
def test_invalid_step_counts(make, error, match):
    opt, w, first = stepped("Adam")
    opt.state[w]["step"] = make()
    refused(opt, first, error, match)
    opt.state[w]["step"] = torch.tensor(1.0)
    opt.step()
    assert opt.state[w]["step"].item() == 2.0


def test_a_step_count_written_over_is_checked():
    opt, w, first = stepped("Adam")
    opt.state[w]["step"].fill_(math.nan)
    refused(opt, first, ValueError, "must be in .*; got nan")


@pytest.mark.parametrize("do", [lambda step: step.resize_(1000), lambda step: step.untyped_storage().resize_(0)])
def test_the_memory_of_a_step_count_cannot_be_taken_away(do):
    opt, w, _ = stepped("Adam")
    with pytest.raises(RuntimeError, match="not resizable"):
        do(opt.state[w]["step"])
    opt.state[w]["step"].share_memory_()  # which moves it
    opt.step()


def test_references_to_a_step_count_see_updates():
    opt, w, first = stepped("Adam")
    mine, shared, number = torch.tensor(3.0), torch.tensor(5.0).share_memory_(), made_in_inference_mode(1)[0]
    double = torch.tensor(1.0, dtype=torch.float64)
    for new in (mine, shared, double):
        opt.state[w]["step"] = new
        opt.step()
        opt.step()
        assert opt.state[w]["step"] is new
    assert (mine.item(), shared.item(), double.item(), double.dtype) == (5.0, 7.0, 3.0, torch.float64)
    assert shared.is_shared()
    opt.state[first]["step"] = opt.state[w]["step"] = mine  # one for two
    opt.step()
    assert mine.item() == 6.0
    opt.state[w]["step"] = number
    opt.step()
    assert opt.state[w]["step"].item() == 2.0


def test_foreign_entries_in_the_state():
    opt, w, _ = stepped("Adam")
    opt.state["mine"], opt.state["more"] = 3, {"note": "text"}
    for _ in range(2):
        opt.step()
    opt.state["mine"] = 4
    opt.step()
    assert opt.state[w]["step"].item() == 4.0


def test_many_views_of_one_matrix_are_told_apart():
    """The exact search for a shared element gives up where it would take too long, and then refuses."""
    memory = torch.ones(100_000)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        strides = torch.randint(1, 50, (2, 2), generator=generator).tolist()
        views = [torch.as_strided(memory, (2, 2), (a, a + b), i) for i, (a, b) in enumerate(strides)]
        taken = [{view[i, j].data_ptr() for i in range(2) for j in range(2)} for view in views]
        params = [nn.Parameter(view) for view in views]
        if len(taken[0]) < 4 or len(taken[1]) < 4:
            continue
        opt = gdfast.torch.SGD(params, lr=1.0)
        memory.fill_(1.0)
        for p in params:
            p.grad = torch.ones(2, 2)
        if taken[0] & taken[1]:
            with pytest.raises(ValueError, match="must not share memory"):
                opt.step()
        else:
            opt.step()
            assert memory.sum().item() == 100_000 - 8
