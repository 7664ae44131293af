"""Parameters, gradients and state in fewer bits on n ranks: the bits and the file of one process."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from cases import CASES, Case

import gdfast
from arrays import assert_same_bits, bits, hostile, plain

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BY_NAME = {case.name: case for case in CASES}
N_STEPS = 2
#: name -> dtypes of the parameters and of the gradients, and options
FORMATS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "8bit": ("f4", BFLOAT16, {"state_dtype": "8bit"}),
    "bfloat16": ("f4", "f4", {"state_dtype": "bfloat16", "seed": 7}),
    "short gradients": ("f4", "f2", {}),
    "split": (BFLOAT16, BFLOAT16, {"state_dtype": "8bit"}),
    "stochastic": (BFLOAT16, "f4", {"master": None, "state_dtype": "bfloat16"}),
    "nearest": (BFLOAT16, "f2", {"master": None, "rounding": "nearest"}),
    "float32 master": (BFLOAT16, BFLOAT16, {"master": "float32", "state_dtype": "8bit"}),
    "float16": ("f2", "f2", {"state_dtype": "8bit"}),
    "float16, no master": ("f2", BFLOAT16, {"master": None, "rounding": "nearest", "state_dtype": "bfloat16"}),
}
#: the second slice of "cut" has fewer elements than `state_dtype_min_size`, "small" has fewer as a whole
SHAPES = {"cut": (33_000, 2), "none": (0, 3), "odd": (4_999,), "scalar": (), "small": (1000,)}
OPTIONS: dict[str, dict[str, Any]] = {
    "clip_norm": {"clip_norm": 0.5, "clip_value": 2.0},
    "skip": {"nonfinite": "skip"},
    "average": {"ema_decay": 0.9},
    "uniform average": {"ema_decay": "average", "ema_start": 1},
    "sum": {"accumulation": "sum", "lr": 1e-4},
    "numpy": {"engine": "numpy", "clip_norm": 0.1},
    "three threads": {"n_threads": 3},
    "little memory": {"message_memory": 1 << 14},
    "little memory, norm": {"message_memory": 1 << 14, "clip_norm": 0.1, "ema_decay": 0.5},
    "by name": {"state_dtype": {"exp_avg": "bfloat16", "exp_avg_sq": "8bit"}},
    "all short": {"state_dtype_min_size": 0},
}


def made(dtype: Any, seed: list[int], wild: bool = False) -> dict[str, Any]:
    return {name: array.copy() for name, array in drawn(np.dtype(dtype), tuple(seed), wild).items()}


@cache
def drawn(dtype: Any, seed: tuple[int, ...], wild: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    draw = hostile if wild else plain
    with np.errstate(over="ignore"):
        return {
            name: draw(rng, int(np.prod(shape)), "f4").astype(dtype).reshape(shape) for name, shape in SHAPES.items()
        }


def pair(case: Case, form: str, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Return a sharded optimizer and one that has it all, with their parameters; both refuse alike."""
    from gdfast.mpi import sharded

    dtype, _, more = FORMATS[form]
    params, alone = made(dtype, [1]), made(dtype, [1])
    options = {**case.options, **more, **options}
    memory = {"message_memory": options.pop("message_memory")} if "message_memory" in options else {}
    reason = refusal(case.optimizer, alone, options)
    if reason:
        with pytest.raises((TypeError, ValueError), match=re.escape(reason)):
            sharded(case.optimizer, params, **options)
        if not reason.startswith("state_dtype must be 'float32' for") or case.optimizer.layerwise:
            return None, params, None, alone
        return pair(case, form, **{**options, "state_dtype": "float32"})
    one = case.optimizer(alone, **options)
    return sharded(case.optimizer, params, **options, **memory), params, one, alone


def refusal(kind: Any, params: Any, options: dict[str, Any]) -> str:
    try:
        kind(params, **options)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def go_on(opt: Any, one: Any, form: str, seed: list[int], *, wild: bool = False, micro: int = 0) -> None:
    """Step on all ranks, and alone with the gradients of all."""
    from mpi4py import MPI

    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    for batch in range(micro + 1):
        grads = [made(FORMATS[form][1], [2, *seed, batch, r], wild) for r in range(size)]
        kept = {name: array.copy() for name, array in grads[rank].items()}
        last = batch == micro
        scale = {"grad_scale": 0.5} if last else {}
        (opt.step if last else opt.accumulate)(grads[rank], **scale)
        assert_same_bits(grads[rank], kept)
        for other in grads[:-1]:
            one.accumulate(other)
        (one.step if last else one.accumulate)(grads[-1], **scale)


def compare(case: Case, form: str, *, wild: bool = False, micro: int = 0, **options: Any) -> bool:
    from gdfast.mpi import RankError
    from gdfast.mpi.engine import ShardLayers

    opt, params, one, alone = pair(case, form, **options)
    if opt is not None and isinstance(opt._engine, ShardLayers) and FORMATS[form][1] != "f4":
        with pytest.raises((TypeError, RankError), match="must be float32 or float64"):
            opt.step(made(FORMATS[form][1], [2]))
        return False
    for step in range(N_STEPS if opt is not None else 0):
        go_on(opt, one, form, [step], wild=wild, micro=micro)
        same_everything(opt, one, params, alone)
    return opt is not None


def same_everything(opt: Any, one: Any, params: Any, alone: Any) -> None:
    assert_same_bits(params, alone)
    assert (opt.step_count, opt.skipped_steps) == (one.step_count, one.skipped_steps)
    assert_same_bits(np.array([opt.last_norm or -1.0]), np.array([one.last_norm or -1.0]))
    cut, rank = opt._spread.cut, opt._spread.team.rank
    for i, (name, whole) in enumerate(one.state.items()):
        start, stop = cut.slice_of(i, rank)
        assert list(opt.state[name]) == list(whole)
        for key, state in whole.items():
            of_blocks = key.endswith(".scales")
            first, last = (start // 128, -(-stop // 128)) if of_blocks else (start, stop)
            expected = state.ravel()[first : last if stop > start else first]
            assert_same_bits(opt.state[name][key].ravel(), expected, f"{name} {key}")
            if not of_blocks:
                assert bits(opt.state_value(name, key).ravel()) == bits(one.state_value(name, key).ravel()[start:stop])


def some_rules(share: str) -> None:
    """Every rule in some of the formats: "0" and "1" are half of them, together all."""
    done = set()
    for i, case in enumerate(CASES):
        for k, form in enumerate(FORMATS):
            if (i + k) % 2 != int(share):
                continue
            try:
                if compare(case, form):
                    done.add(case.optimizer)
            except BaseException as error:
                error.add_note(f"{case} {form}")
                raise
    assert gdfast.AdamW in done
    assert gdfast.LAMB not in done
    assert len(done) > 15


def some_options(first: str) -> None:
    """Every option in some of the formats."""
    for what, options in OPTIONS.items():
        for form in list(FORMATS)[int(first) :: 3]:
            chosen = {} if what == "by name" and FORMATS[form][0] == "f2" else options
            try:
                assert compare(BY_NAME["adamw_odd"], form, micro=2 * (len(what) % 2), **chosen)
                if what in ("clip_norm", "skip", "numpy"):
                    assert compare(BY_NAME["adamw_odd"], form, wild=True, **chosen)
            except BaseException as error:
                error.add_note(f"{what} {form}")
                raise


def one_rank() -> None:
    for form in FORMATS:
        assert compare(BY_NAME["adamw_odd"], form)
        assert compare(BY_NAME["adamw_odd"], form, micro=1, clip_norm=0.5)


def averaged() -> None:
    """The averages go into the parameters of all ranks, and the parameters come back."""
    for form in FORMATS:
        opt, params, one, alone = pair(BY_NAME["adamw_odd"], form, ema_decay=0.75)
        go_on(opt, one, form, [0])
        with opt.averaged(), one.averaged():
            assert_same_bits(params, alone)
        go_on(opt, one, form, [1])
        same_everything(opt, one, params, alone)


def fast() -> None:
    """With MPI's own sums of two ranks, which are rounded as the ones in order, the bits are the same."""
    for form, (_, _, options) in FORMATS.items():
        params, exact = made(FORMATS[form][0], [1]), made(FORMATS[form][0], [1])
        from gdfast.mpi import sharded

        opts = [
            sharded(gdfast.AdamW, arrays, reduction=reduction, **options)
            for arrays, reduction in ((params, "fast"), (exact, "exact"))
        ]
        grads = made(FORMATS[form][1], [2, opts[0]._spread.team.rank])
        for opt in opts:
            opt.step(grads)
        assert_same_bits(params, exact)


def other_dtypes() -> None:
    """Ranks that bring gradients of different dtypes find out before anything is written."""
    from mpi4py import MPI

    from gdfast.mpi import RankError, sharded

    params = made("f4", [1])
    opt = sharded(gdfast.AdamW, params)
    grads = made(BFLOAT16 if MPI.COMM_WORLD.rank else "f4", [2])
    for call in (opt.step, opt.accumulate):
        with pytest.raises(RankError, match=r"the dtype of grads\[\"cut\"\] is 'float32' on rank 0 and 'bfloat16' on"):
            call(grads)
    assert_same_bits(params, made("f4", [1]))
    with pytest.raises(RankError, match="seed is 0 on rank 0 and 1 on rank 1"):
        sharded(gdfast.AdamW, params, state_dtype="8bit", seed=int(MPI.COMM_WORLD.rank == 1))
    opt.step(made("f2", [2]))  # any dtype in any step


def save_all(folder: str, n_ranks: str) -> None:
    from mpi4py import MPI

    for number, form in enumerate(FORMATS):
        opt, _, one, _ = pair(BY_NAME["adamw_odd"], form, ema_decay=0.5)
        go_on(opt, one, form, [0])
        if number % 2:
            grads = [made(FORMATS[form][1], [3, r]) for r in range(int(n_ranks))]
            opt.accumulate(grads[MPI.COMM_WORLD.rank])
            for grad in grads:
                one.accumulate(grad)
        path = Path(folder) / form
        gdfast.save(path, opt, params=number != 0)
        if MPI.COMM_WORLD.rank == 0:
            gdfast.save(f"{path} one", one, params=number != 0)
            assert path.read_bytes() == Path(f"{path} one").read_bytes(), path
        MPI.COMM_WORLD.Barrier()


def load_all(folder: str) -> None:
    for form in FORMATS:
        opt, params, one, alone = pair(BY_NAME["adamw_odd"], form, ema_decay=0.5, seed=99)
        gdfast.load(Path(folder) / form, opt)
        gdfast.load(Path(folder) / form, one)
        same_everything(opt, one, params, alone)
        go_on(opt, one, form, [5])
        same_everything(opt, one, params, alone)
    opt, params, one, alone = pair(BY_NAME["adamw_odd"], "split", ema_decay=0.5)
    with pytest.raises(gdfast.CheckpointError, match="cannot be loaded: it does not fit this optimizer"):
        gdfast.load(Path(folder) / "stochastic", opt)
    same_everything(opt, one, params, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("n_ranks", "share"), [(2, "0"), (3, "1")])
def test_every_rule_in_every_format_has_the_bits_of_one_process(n_ranks: int, share: str) -> None:
    ranks.run(n_ranks, some_rules, share)


@pytest.mark.slow
@pytest.mark.parametrize(("n_ranks", "first"), [(2, "0"), (3, "1"), (2, "2")])
def test_every_option_in_every_format_has_the_bits_of_one_process(n_ranks: int, first: str) -> None:
    ranks.run(n_ranks, some_options, first)


def test_one_rank() -> None:
    ranks.run(1, one_rank)


@pytest.mark.parametrize("what", [averaged, fast, other_dtypes])
def test_two_ranks(what: Any) -> None:
    ranks.run(2, what)


@pytest.mark.slow
@pytest.mark.parametrize(("n_saving", "n_loading"), [(1, 2), (2, 3), (3, 1)])
def test_the_file_of_one_process(n_saving: int, n_loading: int, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    ranks.run(n_saving, save_all, str(tmp_path), str(n_saving))
    ranks.run(n_loading, load_all, str(tmp_path))
