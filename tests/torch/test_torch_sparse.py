"""`gdfast.torch` with the sparse gradients of embedding tables: by their rows, and as `torch.optim` has them."""

import copy

import numpy as np
import pytest
from torch_cases import torch

import gdfast
import gdfast.torch

nn = torch.nn
BATCHES = ([1, 2, 2, 6], [0], [2, 1], [], [6, 6, 6, 0])
FORMS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    ("SparseAdam", {"lr": 0.1}),
    ("SparseAdam", {"lr": 0.1, "maximize": True, "eps": 0.1}),
]
# PyTorch's own, in the making of sparse tensors
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def model(sparse=True):
    """Return a table whose gradient is sparse, with a head whose gradient is not."""
    torch.manual_seed(0)
    return nn.ModuleDict({"table": nn.Embedding(7, 3, sparse=sparse), "head": nn.Linear(3, 1)})


def lose(both, rows):
    hidden = both["head"](both["table"](torch.tensor(rows, dtype=torch.long)))
    return (hidden**2).sum() + 0 * both["head"].bias.sum()


def train(opt, both, batches=BATCHES, **options):
    for rows in batches:
        opt.zero_grad()
        lose(both, rows).backward()
        opt.step(**options)


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_same_numbers_as_pytorch(name, options):
    mine, its = model(), model()
    opts = []
    for both, module in ((mine, gdfast.torch), (its, torch.optim)):
        params = both["table"].parameters() if name == "SparseAdam" else both.parameters()
        opts.append(getattr(module, name)(params, **options))
        train(opts[-1], both)
    torch.testing.assert_close(list(mine.parameters()), list(its.parameters()))
    before, after = opts[1].state_dict(), opts[0].state_dict()
    assert before["param_groups"] == after["param_groups"]
    opts[0].load_state_dict(copy.deepcopy(before))
    opts[1].load_state_dict(copy.deepcopy(after))
    train(opts[0], mine)
    train(opts[1], its)
    torch.testing.assert_close(list(mine.parameters()), list(its.parameters()))


@pytest.mark.parametrize(("name", "options"), [form for form in FORMS if "momentum" not in form[1]])
def test_only_the_named_rows_are_stepped(name, options, monkeypatch):
    both = model()
    opt = getattr(gdfast.torch, name)(both["table"].parameters(), **options)
    monkeypatch.setattr(torch.Tensor, "to_dense", lambda *args: pytest.fail("made dense"))
    before = both["table"].weight.detach().clone()
    train(opt, both, [[1, 4, 1]])
    changed = (both["table"].weight.detach() != before).any(1)
    assert changed.tolist() == [False, True, False, False, True, False, False]


def test_the_bits_are_those_of_gdfast():
    torch.manual_seed(0)
    table = nn.Embedding(5000, 64, sparse=True)
    array = table.weight.detach().numpy().copy()
    opt, reference = gdfast.torch.SparseAdam([table.weight]), gdfast.Adam(array, eps_hat=True)
    rows = torch.randint(5000, (4000,))
    for _ in range(3):
        opt.zero_grad()
        table(rows).sin().sum().backward()
        grad = table.weight.grad
        reference.step(gdfast.Rows(grad._indices()[0].numpy(), grad._values().numpy().copy()))
        opt.step()
    np.testing.assert_array_equal(table.weight.detach().numpy(), array)


def test_clipping_and_the_guard_see_the_rows():
    mine, its = model(), model(sparse=False)
    opt, dense = (
        gdfast.torch.SGD(mine.parameters(), lr=0.1, clip_norm=0.5, nonfinite="raise"),
        gdfast.torch.SGD(its.parameters(), lr=0.1, clip_norm=0.5),
    )
    train(opt, mine)
    train(dense, its)
    assert opt.last_norm == pytest.approx(dense.last_norm)
    torch.testing.assert_close(list(mine.parameters()), list(its.parameters()))
    opt.zero_grad()
    (lose(mine, [3]) * float("inf")).backward()
    before = [p.detach().clone() for p in mine.parameters()]
    with pytest.raises(FloatingPointError, match=r'\["params"\]\[0\]\.grad'):
        opt.step()
    assert all(map(torch.equal, before, mine.parameters()))


ELEMENTS = [
    ((), [[], []]),
    ((5,), [[0, 3, 3, 1]]),
    ((3, 4), [[0, 2, 2, 0], [3, 1, 1, 0]]),
    ((2, 3, 4), [[0, 1, 1], [2, 0, 0], [3, 3, 3]]),  # and the same with the last dimensions whole
    ((3, 0), [[], []]),
]


@pytest.mark.parametrize(("name", "options"), FORMS)
@pytest.mark.parametrize(("shape", "at"), ELEMENTS, ids=str)
def test_sparse_elements(name, options, shape, at):
    """Gradients whose coordinates name some or all dimensions, repeated and in any order."""
    at = torch.zeros(0, 2, dtype=torch.long) if shape == () else torch.tensor(at, dtype=torch.long)
    found = []
    for module in (gdfast.torch, torch.optim):
        generator = torch.Generator().manual_seed(2)
        w = nn.Parameter(torch.randn(shape, generator=generator))
        opt = getattr(module, name)([w], **options)
        for step in range(4):
            # PyTorch's momentum is sparse then, and cannot add what names other dimensions
            named = len(shape) - (step % 2 if len(shape) > 1 and "momentum" not in options else 0)
            values = torch.randn(at.shape[1], *shape[named:], generator=generator)
            w.grad = torch.sparse_coo_tensor(at[:named], values, shape)
            opt.step()
        found.append(w.detach())
    torch.testing.assert_close(*found)


def test_elements_are_stepped_alone(monkeypatch):
    w = nn.Parameter(torch.ones(3, 2))
    opt = gdfast.torch.SparseAdam([w], lr=0.5)
    monkeypatch.setattr(torch.Tensor, "to_dense", lambda *args: pytest.fail("made dense"))
    w.grad = torch.sparse_coo_tensor([[0, 2], [1, 0]], torch.tensor([2.0, -1.0]), (3, 2))
    opt.step()
    torch.testing.assert_close(w.detach(), torch.tensor([[1.0, 0.5], [1.0, 1.0], [1.5, 1.0]]))


@pytest.mark.parametrize("make", [lambda g: g, lambda g: g.t().contiguous().t(), lambda g: g[:1, :1].expand(7, 3)])
def test_sparse_adam_refuses_dense_gradients_of_every_layout(make):
    both = model()
    w = both["table"].weight
    w.grad = make(torch.ones(7, 3))
    before = w.detach().clone()
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam"):
        gdfast.torch.SparseAdam([w]).step()
    assert torch.equal(w.detach(), before)


def test_zeroing():
    both = model()
    opt = gdfast.torch.SGD(both.parameters())
    lose(both, [1, 1, 3]).backward()
    opt.step(zero_grad=True)
    assert not both["table"].weight.grad.to_dense().any()
    assert not both["head"].weight.grad.any()


@pytest.mark.parametrize("options", [{"ema_decay": 0.5}, {"momentum": 0.5}])
def test_made_dense_where_every_row_moves(options):
    mine, its = model(), model(sparse=False)
    train(gdfast.torch.SGD(mine.parameters(), lr=0.1, **options), mine)
    train(gdfast.torch.SGD(its.parameters(), lr=0.1, **options), its)
    torch.testing.assert_close(list(mine.parameters()), list(its.parameters()))


def test_a_table_that_does_not_lie_row_by_row():
    mine, its = model(), model()
    mine["table"].weight.data = mine["table"].weight.data.t().contiguous().t()
    for both, module in ((mine, gdfast.torch), (its, torch.optim)):
        train(module.Adagrad(both.parameters(), lr=0.1), both)
    torch.testing.assert_close(mine["table"].weight, its["table"].weight, check_stride=False)
    assert not mine["table"].weight.is_contiguous()
    for both, module in ((mine, gdfast.torch), (its, torch.optim)):
        train(module.SparseAdam(both["table"].parameters(), lr=0.1), both)
    torch.testing.assert_close(mine["table"].weight, its["table"].weight, check_stride=False)


def test_dense_gradients_after_sparse_ones():
    both = model()
    opt = gdfast.torch.SGD(both["table"].parameters(), lr=1.0)
    train(opt, both, [[1]])
    before = both["table"].weight.detach().clone()
    both["table"].weight.grad = torch.ones(7, 3)
    opt.step(zero_grad=True)
    assert torch.equal(both["table"].weight.detach(), before - 1)
    assert not both["table"].weight.grad.any()


REFUSED = [
    ("Adam", {}, "Adam does not support sparse gradients"),
    ("SGD", {"weight_decay": 0.1}, "weight_decay of SGD must be 0 with sparse gradients"),
    ("SparseAdam", {}, "SparseAdam does not support dense gradients"),
]


@pytest.mark.parametrize(("name", "options", "match"), REFUSED)
def test_what_pytorch_refuses_too(name, options, match):
    both = model()
    opt = getattr(gdfast.torch, name)(both.parameters(), **options)
    before = [p.detach().clone() for p in both.parameters()]
    with pytest.raises(RuntimeError, match=match):
        train(opt, both)
    assert all(map(torch.equal, before, both.parameters()))


def test_no_average_of_a_table_stepped_by_rows():
    both = model()
    opt = gdfast.torch.SparseAdam(both["table"].parameters(), ema_decay=0.9)
    with pytest.raises(RuntimeError, match="ema_decay must be None for SparseAdam"):
        train(opt, both)
