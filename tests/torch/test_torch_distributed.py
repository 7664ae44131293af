"""Parameters that are DTensors, under torch.distributed over gloo: as PyTorch's optimizers, and as without a mesh."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ranks

torch = pytest.importorskip("torch")

import gdfast.torch  # noqa: E402 - where PyTorch is not installed, the line above ends this

NAMES = ("SGD", "ASGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam", "RAdam")
OPTIONS: dict[str, dict[str, Any]] = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5, "centered": True}}


@contextmanager
def together(rank: str, n: str, folder: str) -> Iterator[Any]:
    """Be one of n processes; yield a mesh of all of them."""
    from torch.distributed.device_mesh import init_device_mesh

    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=int(n))
    yield init_device_mesh("cpu", (int(n),))
    torch.distributed.destroy_process_group()


def network() -> Any:
    """Layers whose parts are uneven, and empty in some of three processes."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)
    return torch.nn.Sequential(*layers).double()


def train(model: Any, opt: Any, n_steps: int = 4, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + n_steps):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step)).double()
        opt.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def same(left: Any, right: Any, rtol: float = 1e-12) -> None:
    for one, other in zip(left.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(whole(one), whole(other), rtol=rtol, atol=rtol / 100)


def whole(tensor: Any) -> Any:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def fully_sharded(rank: str, n: str, folder: str) -> None:
    from torch.distributed.fsdp import fully_shard

    with together(rank, n, folder) as mesh:
        for name in NAMES:
            ours, theirs = network(), network()
            options = {"lr": 0.01, **OPTIONS.get(name, {})}
            for model in (ours, theirs):
                fully_shard(model, mesh=mesh)
            opt = getattr(gdfast.torch, name)(ours.parameters(), **options)
            peer = getattr(torch.optim, name)(theirs.parameters(), **options)
            for _ in range(2):
                train(ours, opt)
                train(theirs, peer)
            same(ours, theirs, 1e-6 if name in ("ASGD", "NAdam") else 1e-12)  # whose numbers PyTorch rounds to float32
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert list(opt.state[mine]) == list(peer.state[other])
                for key, value in opt.state[mine].items():
                    expected = peer.state[other][key]
                    assert type(value) is type(expected), (name, key)
                    assert value.shape == expected.shape
                    assert getattr(value, "placements", None) == getattr(expected, "placements", None)


def others(rank: str, n: str, folder: str) -> None:
    """Rules that torch.optim lacks, or cannot step on a mesh (Rprop): as without one."""
    from torch.distributed.tensor import Shard, distribute_tensor

    with together(rank, n, folder) as mesh:
        for name in ("Rprop", "Lion", "MADGRAD", "Adan"):
            value = torch.linspace(-1.0, 1.0, 35).view(7, 5)
            param, alone = torch.nn.Parameter(distribute_tensor(value.clone(), mesh, [Shard(0)])), plain(value)
            opt, one = (getattr(gdfast.torch, name)([p], lr=0.01) for p in (param, alone))
            for step in range(4):
                grad = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
                param.grad, alone.grad = distribute_tensor(grad.clone(), mesh, [Shard(0)]), grad
                opt.step()
                one.step()
            assert torch.equal(param.full_tensor(), alone), name
            for key, found in opt.state[param].items():
                assert torch.equal(whole(found), one.state[alone][key]), (name, key)


def placed(rank: str, n: str, folder: str) -> None:
    """Sharded along either axis, replicated, on a mesh of two axes, beside a plain tensor: the bits of no mesh."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    with together(rank, n, folder) as line:
        square = init_device_mesh("cpu", (int(n), 1))
        for mesh, placements in (
            (line, [Shard(0)]),
            (line, [Shard(1)]),
            (line, [Replicate()]),
            (square, [Replicate(), Shard(0)]),
            (square, [Shard(1), Replicate()]),
        ):
            generator = torch.Generator().manual_seed(1)
            values = [torch.randn(5, 4, generator=generator) for _ in range(2)]
            mine = [torch.nn.Parameter(distribute_tensor(values[0].clone(), mesh, placements)), plain(values[1])]
            alone = [plain(value) for value in values]
            options = {"lr": 0.1, "clip_norm": 0.5, "nonfinite": "skip", "ema_decay": 0.9}
            opt, one = gdfast.torch.AdamW(mine, **options), gdfast.torch.AdamW(alone, **options)
            for step in range(4):
                grads = [torch.randn(5, 4, generator=generator) for _ in range(2)]
                if step == 2:
                    grads[0][4, 3] = torch.nan
                mine[0].grad, mine[1].grad = distribute_tensor(grads[0].clone(), mesh, placements), grads[1].clone()
                alone[0].grad, alone[1].grad = grads
                opt.step(zero_grad=step == 3)
                one.step()
                assert opt.last_norm == pytest.approx(one.last_norm, rel=1e-12, nan_ok=True), (placements, step)
            assert opt.skipped_steps == one.skipped_steps == 1
            assert not whole(mine[0].grad).any()
            assert not mine[1].grad.any()
            for param, other in zip(mine, alone, strict=True):
                torch.testing.assert_close(whole(param).detach(), other.detach(), rtol=1e-6, atol=1e-8)
            with opt.averaged(), one.averaged():
                torch.testing.assert_close(whole(mine[0]).detach(), alone[0].detach(), rtol=1e-6, atol=1e-8)


def plain(value: Any) -> Any:
    return torch.nn.Parameter(value.clone())


def strided(rank: str, n: str, folder: str) -> None:
    """Sharded in strides, as FSDP leaves what tensor parallelism has sharded: every element counts once in the norm."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    with together(rank, n, folder):
        mesh = init_device_mesh("cpu", (int(n) // 2, 2))
        rows = slice(2 * int(rank), 2 * int(rank) + 2)  # which of all there are does not matter for a norm
        placements = [_StridedShard(0, split_factor=2), Shard(0)]
        spec = {"shape": (2 * int(n), 3), "stride": (3, 1)}
        whole = [torch.randn(2 * int(n), 3, generator=torch.Generator().manual_seed(i)) for i in range(3)]
        mine = torch.nn.Parameter(DTensor.from_local(whole[0][rows].clone(), mesh, placements, **spec))
        alone = plain(whole[0])
        opt, one = (gdfast.torch.SGD([p], lr=0.5, clip_norm=0.5) for p in (mine, alone))
        for grad in whole[1:]:
            mine.grad = DTensor.from_local(grad[rows].clone(), mesh, placements, **spec)
            alone.grad = grad
            opt.step()
            one.step()
            assert opt.last_norm == pytest.approx(one.last_norm, rel=1e-12)
            torch.testing.assert_close(mine.to_local().detach(), alone.detach()[rows], rtol=1e-6, atol=1e-8)


def refused(rank: str, n: str, folder: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    with together(rank, n, folder) as mesh:
        param = torch.nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)]))
        opt = gdfast.torch.Adam([param], nonfinite="raise")
        opt.step()  # without a gradient nothing happens
        param.grad = distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)])
        opt.step()
        before = param.full_tensor().clone()
        param.grad._local_tensor[0, 0] = torch.inf if rank == "1" else 1.0
        with pytest.raises(
            FloatingPointError, match=r'process 1: param_groups\[0\]\["params"\]\[0\].grad \(0 NaN, 1 inf'
        ):
            opt.step()
        param.grad._local_tensor.fill_(1.0)
        kept = opt.state[param]["exp_avg"]
        opt.state[param]["exp_avg"] = distribute_tensor(torch.ones(4, 4), mesh, [Shard(1)])
        with pytest.raises(ValueError, match=r'state "exp_avg" of .* must have its'):
            opt.step()
        opt.state[param]["exp_avg"] = torch.ones(4, 4)
        with pytest.raises(TypeError, match=r'state "exp_avg" of .* must be a DTensor as its parameter is; got Tensor'):
            opt.step()
        assert torch.equal(param.full_tensor(), before)
        opt.state[param]["exp_avg"] = kept
        opt.step()
        partial = torch.nn.Parameter(DTensor.from_local(torch.ones(4, 4), mesh, [Partial()]))
        partial.grad = DTensor.from_local(torch.ones(4, 4), mesh, [Partial()])
        with pytest.raises(TypeError, match="must be sharded or replicated"):
            gdfast.torch.Adam([partial]).step()
        with pytest.raises(TypeError, match=r"state_dtype must be 'bfloat16' or 'float32' for .*, which is sharded"):
            gdfast.torch.Adam([{"params": [param], "state_dtype": "8bit"}], state_dtype_min_size=0).step()
        with pytest.raises(TypeError, match="step_in_backward cannot go with DTensors"):
            gdfast.torch.step_in_backward(torch.nn.ParameterList([param]), gdfast.torch.Adam([param]))
        other = torch.nn.Parameter(
            distribute_tensor(torch.ones(4), init_device_mesh("cpu", (1, int(n))), [Replicate()] * 2)
        )
        for each in (param, other):
            each.grad = torch.ones_like(each)
        with pytest.raises(ValueError, match="need all parameters on one mesh; got 2 meshes"):
            gdfast.torch.Adam([param, other], clip_norm=1.0).step()


def scaled(rank: str, n: str, folder: str) -> None:
    """`GradScaler` leaves the unscaling of float16 to the step, and unscales float32 itself."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    with together(rank, n, folder) as mesh:
        for dtype in (torch.float16, torch.float32):
            for placement in (Shard(0), Replicate()):
                param = torch.nn.Parameter(distribute_tensor(torch.ones(4, dtype=dtype), mesh, [placement]))
                opt = gdfast.torch.SGD([param], lr=0.125)
                scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
                for factor in (1.0, torch.inf, 1.0):
                    opt.zero_grad()
                    scaler.scale((param.to_local().float() * factor).sum()).backward()
                    scaler.step(opt)
                    scaler.update()
                assert whole(param).tolist() == [0.75] * 4


def placed_otherwise(rank: str, n: str, folder: str) -> None:
    """Gradients that are still to be summed (`SequenceParallel`) or under way, where PyTorch's optimizers wait too."""
    from torch.distributed._functional_collectives import all_reduce
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
    from torch.distributed.tensor import parallel as layers

    with together(rank, n, folder) as mesh:
        plan = {
            "0": layers.SequenceParallel(sequence_dim=0),
            "1": layers.ColwiseParallel(input_layouts=Shard(0)),
            "3": layers.RowwiseParallel(output_layouts=Replicate()),
        }
        models = []
        for module in (gdfast.torch, torch.optim):
            torch.manual_seed(0)
            parts = torch.nn.LayerNorm(5), torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
            models.append(layers.parallelize_module(torch.nn.Sequential(*parts).double(), mesh, plan))
            opt = module.SGD(models[-1].parameters(), lr=0.1, momentum=0.9)
            assert len(train(models[-1], opt)) == 4
            assert models[-1][0].weight.grad.placements[0].is_partial()
        same(*models)
        gdfast.torch.SGD(models[0].parameters(), lr=0.1).step(zero_grad=True)
        assert not whole(models[0][0].weight.grad).any()
        param = torch.nn.Parameter(distribute_tensor(torch.ones(4), mesh, [Replicate()]))
        param.grad = DTensor.from_local(all_reduce(torch.ones(4), "sum", mesh), mesh, [Replicate()], run_check=False)
        gdfast.torch.SGD([param], lr=0.5).step()
        assert whole(param).tolist() == [1.0 - 0.5 * int(n)] * 4


def saves(rank: str, n: str, folder: str) -> None:
    resume(rank, n, folder, 0)


def loads(rank: str, n: str, folder: str) -> None:
    resume(rank, n, folder, 4)


def resume(rank: str, n: str, folder: str, first: int) -> None:
    """Train, save and go on; or load in another number of processes and go on: the losses are those of torch.optim."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.fsdp import fully_shard

    with together(rank, n, folder) as mesh:
        model, alone = network(), network()
        fully_shard(model, mesh=mesh)
        opt = gdfast.torch.AdamW(model.parameters(), lr=0.05)
        peer = torch.optim.AdamW(alone.parameters(), lr=0.05)
        losses = train(alone, peer, 8)
        path = f"{folder}/../checkpoint"
        if first:
            own, state = get_state_dict(model, opt)  # its dummy step must change no bit
            same(model, network())
            saved = {"model": own, "opt": state}
            checkpoint.load(saved, checkpoint_id=path)
            set_state_dict(model, opt, model_state_dict=saved["model"], optim_state_dict=saved["opt"])
        else:
            assert train(model, opt) == pytest.approx(losses[:4], rel=1e-10)
            own, state = get_state_dict(model, opt)
            checkpoint.save({"model": own, "opt": state}, checkpoint_id=path)
        assert train(model, opt, 4, 4) == pytest.approx(losses[4:], rel=1e-10)


def wrapped(rank: str, n: str, folder: str) -> None:
    """ZeroRedundancyOptimizer and DistributedDataParallel, which need nothing of ours."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    with together(rank, n, folder):
        model, alone = network(), network()
        ddp = torch.nn.parallel.DistributedDataParallel(model)
        opt = ZeroRedundancyOptimizer(ddp.parameters(), gdfast.torch.AdamW, lr=0.05)
        peer = torch.optim.AdamW(alone.parameters(), lr=0.05)
        assert train(ddp, opt) == pytest.approx(train(alone, peer), rel=1e-10)
        same(model, alone)


def in_backward(rank: str, n: str, folder: str) -> None:
    """An optimizer of each parameter, stepped while the backward pass goes on; variants of DistributedDataParallel."""
    from torch.distributed.optim import _apply_optimizer_in_backward

    with together(rank, n, folder):
        for options in ({"gradient_as_bucket_view": True}, {"static_graph": True}, {"broadcast_buffers": False}):
            model, alone = network(), network()
            ddp = torch.nn.parallel.DistributedDataParallel(model, **options)
            opt, peer = gdfast.torch.Adam(ddp.parameters(), lr=0.05), torch.optim.Adam(alone.parameters(), lr=0.05)
            assert train(ddp, opt) == pytest.approx(train(alone, peer), rel=1e-10)
            same(model, alone)
        model, alone = network(), network()
        _apply_optimizer_in_backward(gdfast.torch.SGD, list(model.parameters()), {"lr": 0.05, "momentum": 0.9})
        peer = torch.optim.SGD(alone.parameters(), lr=0.05, momentum=0.9)
        for step in range(3):
            x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step)).double()
            model(x).square().sum().backward()
        train(alone, peer, 3)
        same(model, alone)


@pytest.mark.parametrize(
    ("function", "n"),
    [
        (fully_sharded, 1),
        (fully_sharded, 2),
        (fully_sharded, 3),
        (others, 3),
        (placed, 2),
        (placed, 3),
        (strided, 2),
        (strided, 4),
        (refused, 2),
        (scaled, 2),
        (placed_otherwise, 2),
        (wrapped, 2),
        (in_backward, 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_processes(function: Callable[..., None], n: int, tmp_path: Path) -> None:
    ranks.run_processes(n, function, str(tmp_path))


def test_saved_by_three_and_loaded_by_two(tmp_path: Path) -> None:
    for name, function, n in (("three", saves, 3), ("two", loads, 2)):
        (tmp_path / name).mkdir()
        ranks.run_processes(n, function, str(tmp_path / name))
