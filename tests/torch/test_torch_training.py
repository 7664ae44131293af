"""Whole trainings with `gdfast.torch` beside `torch.optim`: networks, compiled models, two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch_cases import EACH, torch

import gdfast.torch

nn, functional = torch.nn, torch.nn.functional
STEPS = 200


class Convolutional(nn.Module):
    """Two convolutions in channels_last, batch normalisation, a linear head; on images whose class is a stripe."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(8 * 16, 4),
        )
        self.to(memory_format=torch.channels_last)

    def loss(self, generator):
        labels = torch.randint(4, (16,), generator=generator)
        images = torch.randn(16, 1, 8, 8, generator=generator)
        images[torch.arange(16), 0, 2 * labels] += 1.0
        return functional.cross_entropy(self.layers(images.contiguous(memory_format=torch.channels_last)), labels)


class Transformer(nn.Module):
    """One block, with the embedding tied to the head; on sequences that count upwards."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation=torch.tanh, batch_first=True)
        self.never_used = nn.Linear(3, 3)

    def loss(self, generator):
        begin = torch.randint(11, (8, 1), generator=generator)
        tokens = (begin + torch.arange(7)) % 11
        mask = nn.Transformer.generate_square_subsequent_mask(6)
        hidden = self.block(self.embedding(tokens[:, :-1]), src_mask=mask, is_causal=True)
        return functional.cross_entropy((hidden @ self.embedding.weight.T).flatten(0, 1), tokens[:, 1:].flatten())


def train(network, optimizer, steps=STEPS, **options):
    """Return the loss of every step, in double precision so that only the mathematics is compared."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        model, generator = network(), torch.Generator().manual_seed(1)
        opt = optimizer(model.parameters(), **options)
        losses = []
        for _ in range(steps):
            opt.zero_grad()
            loss = model.loss(generator)
            loss.backward()
            opt.step()
            losses.append(loss.item())
    finally:
        torch.set_default_dtype(torch.float32)
    return losses


@EACH
@pytest.mark.parametrize("network", [Convolutional, Transformer])
def test_the_losses_are_those_of_pytorch(case, network):
    ascent = case.options.get("maximize", False)
    options = {"maximize": False}
    losses = train(network, case.ours, **options)
    assert losses == pytest.approx(train(network, case.theirs, **options), rel=1e-5)
    assert min(losses[-20:]) < losses[0]
    if ascent:
        climbing = {"maximize": True, "steps": 10, "lr": 1e-4}
        assert train(network, case.ours, **climbing) == pytest.approx(train(network, case.theirs, **climbing), rel=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_model_and_a_compiled_step():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    results = []
    x = torch.randn(16, 5)
    for optimizer, compiled in ((torch.optim.Adam, False), (gdfast.torch.Adam, False), (gdfast.torch.Adam, True)):
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        model.load_state_dict(plain.state_dict())
        opt = optimizer(model.parameters(), lr=0.01)
        run = torch.compile(model) if compiled or optimizer is gdfast.torch.Adam else model

        def step(run=run, opt=opt):
            opt.zero_grad()
            loss = run(x).square().mean()
            loss.backward()
            opt.step()
            return loss

        whole = torch.compile(step) if compiled else step
        results.append([whole().item() for _ in range(8)])
    assert results[1] == pytest.approx(results[0], rel=1e-4)
    assert results[2] == pytest.approx(results[0], rel=1e-4)
    torch._dynamo.reset()


DATA_PARALLEL = """
import os, sys, torch, gdfast.torch
from torch.nn.parallel import DistributedDataParallel
rank, meeting, bucket_view = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
torch.set_num_threads(1)
store = torch.distributed.FileStore(meeting, 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
results = []
for optimizer in (gdfast.torch.AdamW, torch.optim.AdamW):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=bucket_view)
    opt = optimizer(parallel.parameters(), lr=0.01)
    torch.manual_seed(10 + rank)
    for _ in range(5):
        opt.zero_grad()
        parallel(torch.randn(8, 6)).square().mean().backward()
        opt.step()
    results.append([p.detach().clone() for p in model.parameters()])
torch.testing.assert_close(results[0], results[1])
others = [torch.empty_like(results[0][0]) for _ in range(2)]
torch.distributed.all_gather(others, results[0][0])
assert torch.equal(*others), "the processes have gone apart"
torch.distributed.barrier()
os._exit(0)  # PyTorch's communication threads may abort at a regular exit, which is not what is tested
"""


@pytest.mark.parametrize("bucket_view", [False, True])
def test_data_parallel_on_two_processes(bucket_view, tmp_path):
    arguments = [str(tmp_path / "meeting"), str(bucket_view)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DATA_PARALLEL, str(rank), *arguments],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
