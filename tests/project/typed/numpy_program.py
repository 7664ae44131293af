"""A program with types that uses gdfast's public API: checked by mypy --strict and pyright, never run."""

# pyright: strict

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import gdfast
from gdfast import callbacks, checkpoint, schedules

Array = NDArray[np.float32]


def numpy_program(w: Array, layers: dict[str, list[Array]]) -> float:
    opt = gdfast.Adam(w, lr=1e-3, betas=(0.9, 0.99), clip_norm=1.0, nonfinite="skip", ema_decay=0.99)
    opt.step(w)
    opt.step([w], grad_scale=0.5, zero_grad=True)
    opt.accumulate(w)
    opt.step_rows("0", np.array([1, 2]), w[:2])
    opt.lr = 0.1
    opt.lr = schedules.Cosine(0.1, total_steps=100, warmup_steps=10)
    sgd = gdfast.SGD(layers, lr=lambda step: 0.1 / (1 + step), momentum=0.9, nesterov=True)
    sgd.step(layers)
    gdfast.AdamW(gdfast.groups(layers, no_decay="*.bias"), weight_decay=0.1, state_dtype="bfloat16")
    gdfast.Lookahead(gdfast.RMSprop(w), k=5, alpha=0.5).step(w)
    with opt.averaged():
        norm = gdfast.global_norm(layers)
    gdfast.save("run.safetensors", opt)
    gdfast.load("run.safetensors", opt)
    state = opt.state_dict()
    opt.load_state_dict(state)
    try:
        gdfast.load("other.safetensors", opt)
    except checkpoint.MismatchError as error:
        print(error)
    names: list[str] = list(opt.state)
    first: NDArray[np.generic] = opt.state["0"]["exp_avg"]
    print(names, first.shape, opt.ema, opt.param_groups[0]["lr"])
    found = gdfast.lr_find(opt, lambda: (1.0, w), rng=np.random.default_rng(0))
    stop = callbacks.EarlyStopping(patience=3)
    if stop(0, {"loss": 0.5, "lr": found.lr}):
        print(found)
    gdfast.set_num_threads(2)
    assert_type(gdfast.get_num_threads(), int)
    assert_type(opt.step_count, int)
    assert_type(opt.skipped_steps, int)
    assert_type(schedules.Cosine(0.1, total_steps=10)(3), float)
    return norm


def embedding(table: Array) -> None:
    opt = gdfast.Adagrad({"table": table}, lr=0.1)
    opt.step({"table": gdfast.Rows(np.array([0, 3]), table[:2])})


def full_batch(w: Array) -> None:
    def closure() -> tuple[float, Array]:
        return float(w @ w), 2 * w

    loss: float = gdfast.LBFGS(w).step(closure)
    print(loss)
