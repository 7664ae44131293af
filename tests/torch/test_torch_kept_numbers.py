"""Steps whose numbers the engine computes by itself have the bits of those that Python computes."""

import random

import pytest

torch = pytest.importorskip("torch")

import gdfast.torch  # noqa: E402
from gdfast.torch import rule  # noqa: E402


def run(cls, options, seed):
    """Train three arrays in two groups; gradients come and go, hyperparameters change."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    params = [torch.ones(n, requires_grad=True) for n in (5, 33, 7)]
    opt = cls([{"params": params[:2]}, {"params": params[2:], "lr": 0.2}], lr=0.01, **options)
    for _ in range(40):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator) if rng.random() < 0.7 else None
        group = rng.choice(opt.param_groups)
        change = rng.randrange(8)
        if change == 0:
            group["lr"] = rng.choice([0.1, 0.03])
        elif change == 1:
            group["betas"] = (0.5, rng.choice([0.9, 0.99]))
        elif change == 2:
            group["maximize"] = not group["maximize"]
        elif change == 3:
            opt.load_state_dict(opt.state_dict())
        opt.step()
    return [param.detach().numpy().tobytes() for param in params]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (gdfast.torch.Adam, {}),
        (gdfast.torch.Adam, {"weight_decay": 0.1, "amsgrad": True}),
        (gdfast.torch.AdamW, {"weight_decay": 0.1}),
        (gdfast.torch.AdamW, {"clip_value": 0.5}),
        (gdfast.torch.NAdam, {}),
    ],
)
def test_kept_numbers_have_the_bits_of_those_computed_anew(cls, options, seed, monkeypatch):
    kept = run(cls, options, seed)
    monkeypatch.setattr(rule, "are_kept", lambda owner: False)
    assert run(cls, options, seed) == kept


def test_numbers_are_computed_once_while_nothing_changes(monkeypatch):
    param = torch.ones(3, requires_grad=True)
    param.grad = torch.ones(3)
    opt, calls = gdfast.torch.AdamW([param]), []
    inner = rule.step_numbers
    monkeypatch.setattr(rule, "step_numbers", lambda *args: calls.append(args[3]) or inner(*args))
    for _ in range(5):
        opt.step()
    opt.param_groups[0]["lr"] = 0.5
    opt.step()
    opt.step()
    assert calls == [1, 6]
