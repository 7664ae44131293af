"""DTensors of bfloat16 and float16, and short state: the bits of one process, whatever the number of processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ranks

torch = pytest.importorskip("torch")

import gdfast.torch  # noqa: E402 - where PyTorch is not installed, the line above ends this

SHAPES = ((7, 640), (5,), (2, 3, 4), (1, 9, 5), (90, 60))
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
SHORT = {"state_dtype": "bfloat16", "state_dtype_min_size": 0}
#: dtype of the parameters, and options
WAYS: list[tuple[str, Any, dict[str, Any]]] = [
    ("AdamW", BF16, {}),
    ("AdamW", BF16, {"master": None, "seed": 5, **SHORT}),
    ("AdamW", BF16, {"master": None, "rounding": "nearest", "state_dtype": "float32"}),
    ("AdamW", BF16, {"master": "float32", "state_dtype": {"exp_avg": "bfloat16"}}),
    ("AdamW", F16, {"ema_decay": 0.5}),
    ("AdamW", F32, {"ema_decay": 0.5, **SHORT}),
    ("SGD", BF16, {"master": None}),
    ("Lion", BF16, {"ema_decay": 0.5, **SHORT}),
]


@contextmanager
def together(rank: str, n: str, folder: str) -> Iterator[Any]:
    """Be one of n processes; yield a mesh of all of them."""
    from torch.distributed.device_mesh import init_device_mesh

    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=int(n))
    yield init_device_mesh("cpu", (int(n),))
    torch.distributed.destroy_process_group()


def values(dtype: Any, step: int = -1) -> list[Any]:
    generator = torch.Generator().manual_seed(step + 50)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def placed(tensors: list[Any], mesh: Any, placements: Any) -> list[Any]:
    from torch.distributed.tensor import Shard, distribute_tensor

    dims = [1 if tensor.shape[0] == 1 else 0 for tensor in tensors]  # after one of a single element: still a stretch
    along = [[Shard(dim) if p is None else p for p in placements] for dim in dims]
    return [distribute_tensor(tensor.clone(), mesh, each) for tensor, each in zip(tensors, along, strict=True)]


def step_both(mine: list[Any], opt: Any, alone: list[Any], one: Any, step: int, mesh: Any, placements: Any) -> None:
    dtype = F32 if step == 2 else alone[0].dtype
    grads = values(dtype, step)
    for param, other, grad, own in zip(mine, alone, grads, placed(grads, mesh, placements), strict=True):
        for each, given in ((param, own), (other, grad)):
            each.grad = None
            each.grad_dtype = dtype
            each.grad = given
    opt.step(zero_grad=step == 1)
    one.step()


def whole(tensor: Any) -> Any:
    if not hasattr(tensor, "full_tensor"):
        return tensor
    if tensor.dtype != torch.int16:
        return tensor.full_tensor()
    from torch.distributed.tensor import DTensor

    local = tensor._local_tensor.view(BF16)  # gloo does not gather int16
    spec = {"shape": tensor.shape, "stride": tensor.stride()}
    return DTensor.from_local(local, tensor.device_mesh, tensor.placements, **spec).full_tensor().view(torch.int16)


def same_bits(mine: list[Any], opt: Any, alone: list[Any], one: Any) -> None:
    for param, other in zip(mine, alone, strict=True):
        assert torch.equal(whole(param).detach(), other.detach())
        assert opt.state[param].keys() == one.state[other].keys()
        for name, value in one.state[other].items():
            found = opt.state[param][name]
            if value.shape == other.shape:
                assert found.placements == param.placements, name
            assert torch.equal(whole(found), value), name
            assert found.dtype == value.dtype


def one_process(rank: str, n: str, folder: str) -> None:
    """Sharded along the first dimension, replicated, on meshes of two axes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate

    with together(rank, n, folder) as line:
        square = init_device_mesh("cpu", (int(n), 1))
        for mesh, placements in ((line, [None]), (line, [Replicate()]), (square, [None, None])):
            for name, dtype, options in WAYS:
                alone = [torch.nn.Parameter(value) for value in values(dtype)]
                mine = [torch.nn.Parameter(value) for value in placed(values(dtype), mesh, placements)]
                opt, one = (getattr(gdfast.torch, name)(params, lr=0.01, **options) for params in (mine, alone))
                for step in range(3):
                    step_both(mine, opt, alone, one, step, mesh, placements)
                same_bits(mine, opt, alone, one)
                if opt.averaging.on:
                    with opt.averaged(), one.averaged():
                        assert all(torch.equal(whole(p).detach(), q) for p, q in zip(mine, alone, strict=True))
                    same_bits(mine, opt, alone, one)


def two_axes(rank: str, n: str, folder: str) -> None:
    """Rows cut twice; and what has no stretch of the whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    with together(rank, n, folder):
        square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
        options = {"lr": 0.01, "master": None, **SHORT}
        alone = [torch.nn.Parameter(value) for value in values(BF16)]
        mine = [torch.nn.Parameter(value) for value in placed(values(BF16), square, [None, None])]
        opt, one = gdfast.torch.AdamW(mine, **options), gdfast.torch.AdamW(alone, **options)
        for step in range(3):
            step_both(mine, opt, alone, one, step, square, [None, None])
        same_bits(mine, opt, alone, one)
        param = torch.nn.Parameter(distribute_tensor(torch.ones(4, 4, dtype=BF16), square, [Shard(0), Shard(1)]))
        param.grad = torch.ones_like(param)
        with pytest.raises(TypeError, match="must be sharded along its first dimension and contiguous"):
            gdfast.torch.AdamW([param], **options).step()
        gdfast.torch.AdamW([param]).step()


def refused(rank: str, n: str, folder: str) -> None:
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    def fails(param: Any, match: str, **options: Any) -> None:
        param.grad = torch.ones_like(param)
        before, opt = whole(param).clone(), gdfast.torch.AdamW([param], **options)
        with pytest.raises(TypeError, match=match):
            opt.step()
        assert torch.equal(whole(param), before)
        assert not opt.state[param]

    with together(rank, n, folder) as mesh:
        rows, columns, both = (
            torch.nn.Parameter(distribute_tensor(torch.ones(64, 80, dtype=BF16), mesh, [placement]))
            for placement in (Shard(0), Shard(1), Replicate())
        )
        fails(rows, "must be 'bfloat16' or 'float32' for .*, which is sharded; got '8bit'", state_dtype="8bit")
        fails(columns, "must be sharded along its first dimension and contiguous", master=None)
        fails(columns, "must be sharded along its first dimension and contiguous", state_dtype="bfloat16")
        turned = DTensor.from_local(torch.ones(5, 4, dtype=BF16).t(), mesh, [Shard(0)])
        fails(torch.nn.Parameter(turned), "must be sharded along its first dimension and contiguous", master=None)
        odd = DTensor.from_local(
            torch.ones(3 if rank == "0" else 1, 4, dtype=BF16), mesh, [Shard(0)], shape=(4, 4), stride=(4, 1)
        )
        odd.requires_grad_(True)
        odd.grad = DTensor.from_local(torch.ones_like(odd.to_local()), mesh, [Shard(0)], shape=(4, 4), stride=(4, 1))
        with pytest.raises(TypeError, match="must be sharded along its first dimension and contiguous"):
            gdfast.torch.AdamW([odd], master=None).step()
        alone = torch.nn.Parameter(torch.ones(64, 80, dtype=BF16))
        opt, one = (gdfast.torch.AdamW([param], state_dtype="8bit") for param in (both, alone))
        both.grad, alone.grad = torch.ones_like(both), torch.ones_like(alone)
        opt.step()
        one.step()
        same_bits([both], opt, [alone], one)
        opt.param_groups[0]["state_dtype"] = one.param_groups[0]["state_dtype"] = "float32"
        opt.step()
        one.step()
        same_bits([both], opt, [alone], one)
        rows.grad = torch.ones_like(rows)
        rows.grad._local_tensor[0, 0] = torch.nan if rank == "1" else 1.0
        with pytest.raises(FloatingPointError, match=r"process 1: .* \(1 NaN"):
            gdfast.torch.AdamW([rows], nonfinite="raise").step()


def network(dtype: Any) -> Any:
    torch.manual_seed(0)
    layers = torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)
    return torch.nn.Sequential(*layers).to(dtype)


def train(model: Any, opt: Any, steps: Any, dtype: Any = F32) -> list[float]:
    losses = []
    for step in steps:
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step)).to(dtype)
        opt.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def fully_sharded(rank: str, n: str, folder: str) -> None:
    """Models of bfloat16, and float32 ones that compute in it, with all processes seeing the same rows."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    with together(rank, n, folder) as mesh:
        for options in ({}, {"master": None, **SHORT}):
            model, alone = network(BF16), network(BF16)
            fully_shard(model, mesh=mesh)
            opt, one = (gdfast.torch.AdamW(m.parameters(), lr=0.05, **options) for m in (model, alone))
            for step in range(3):  # PyTorch's backward pass, and gradients that do not depend on n
                train(alone, one, [step], BF16)
                opt.zero_grad()
                model(torch.ones(2, 5, dtype=BF16)).sum().backward()
                for param, other in zip(model.parameters(), alone.parameters(), strict=True):
                    assert param.grad.dtype == BF16
                    own = torch.distributed.tensor.distribute_tensor(other.grad, mesh, param.placements)
                    param.grad._local_tensor.copy_(own._local_tensor)
                opt.step()
            same_bits(list(model.parameters()), opt, list(alone.parameters()), one)
        mixed, peer = network(F32), network(F32)
        for each in (mixed, peer):
            fully_shard(each, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=BF16, reduce_dtype=F32))
        opt = gdfast.torch.AdamW(mixed.parameters(), lr=0.05)
        other = torch.optim.AdamW(peer.parameters(), lr=0.05)
        found, expected = train(mixed, opt, range(8), BF16), train(peer, other, range(8), BF16)
        assert found == pytest.approx(expected, rel=0.05)
        assert found[-1] < found[0]
        for param in mixed.parameters():
            assert param.dtype == param.grad.dtype == opt.state[param]["exp_avg"].dtype == F32


def saves(rank: str, n: str, folder: str) -> None:
    resume(rank, n, folder, first=True)


def loads(rank: str, n: str, folder: str) -> None:
    resume(rank, n, folder, first=False)


def resume(rank: str, n: str, folder: str, first: bool) -> None:
    """Save, or load in another number of processes, and go on: the bits are those of one process."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_tensor

    with together(rank, n, folder) as mesh:
        for options in ({}, {"master": None, "seed": 9, **SHORT}, {"master": "float32", "ema_decay": 0.5}):
            model, alone = network(BF16), network(BF16)
            fully_shard(model, mesh=mesh)
            opt, one = (gdfast.torch.AdamW(m.parameters(), lr=0.05, **options) for m in (model, alone))
            pairs = list(zip(model.parameters(), alone.parameters(), strict=True))
            path = f"{folder}/../checkpoint-{len(options)}"

            def go_on(opt: Any, one: Any, alone: Any, pairs: Any, steps: Any, with_opt: bool) -> None:
                for step in steps:
                    train(alone, one, [step], BF16)
                    if with_opt:
                        for param, other in pairs:
                            param.grad = distribute_tensor(other.grad.clone(), mesh, param.placements)
                        opt.step()

            go_on(opt, one, alone, pairs, range(3), first)
            own, state = get_state_dict(model, opt)  # its dummy step must change no bit
            if first:
                checkpoint.save({"model": own, "opt": state}, checkpoint_id=path)
            else:
                assert all(map(torch.equal, map(whole, model.parameters()), network(BF16).parameters()))
                saved = {"model": own, "opt": state}
                checkpoint.load(saved, checkpoint_id=path)
                set_state_dict(model, opt, model_state_dict=saved["model"], optim_state_dict=saved["opt"])
            go_on(opt, one, alone, pairs, range(3, 6), True)
            same_bits(list(model.parameters()), opt, list(alone.parameters()), one)


@pytest.mark.parametrize(
    ("function", "n"),
    [
        (one_process, 1),
        (one_process, 2),
        (one_process, 3),
        (two_axes, 4),
        (refused, 2),
        (fully_sharded, 1),
        (fully_sharded, 2),
        (fully_sharded, 3),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_processes(function: Callable[..., None], n: int, tmp_path: Path) -> None:
    ranks.run_processes(n, function, str(tmp_path))


def test_saved_by_three_and_loaded_by_two(tmp_path: Path) -> None:
    for name, function, n in (("three", saves, 3), ("two", loads, 2)):
        (tmp_path / name).mkdir()
        ranks.run_processes(n, function, str(tmp_path / name))
