"""Every public optimizer in every format: the same bits in both engines, or an error that says why not."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import gdfast

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SHAPE = (70, 64)  # of a matrix, and large enough for short state
#: dtypes of the parameters and of the gradients, and options
FORMATS = {
    "bfloat16 params": (BFLOAT16, "f4", {}),
    "bfloat16 params, no master": (BFLOAT16, BFLOAT16, {"master": None}),
    "float16 params": ("f2", "f2", {}),
    "float16 params, no master": ("f2", "f4", {"master": None, "rounding": "nearest"}),
    "bfloat16 gradients": ("f4", BFLOAT16, {}),
    "copies": ("f4", "f4", {"copies": np.dtype("f2")}),
    "bfloat16 state": ("f4", "f4", {"state_dtype": "bfloat16"}),
    "8bit state": ("f4", "f4", {"state_dtype": "8bit"}),
}
STATE, PARAMS = {"bfloat16 state", "8bit state"}, {name for name in FORMATS if "params" in name}
MEASURING = {"Adafactor", "CautiousAdamW", "LAMB", "LARS", "Muon", "NovoGrad"}
#: what each class refuses; all others have every format
REFUSED = {
    **{name: set(FORMATS) for name in (*MEASURING, "LBFGS")},
    "Lookahead": PARAMS | {"copies"},
    "ScheduleFreeSGD": {"bfloat16 params, no master", "float16 params, no master", *STATE},
    "ScheduleFreeAdamW": {"bfloat16 params, no master", "float16 params, no master"},
    **dict.fromkeys(("ASGD", "FTRL", "MADGRAD", "Rprop"), STATE),
}
#: a reason is one of these, not only what is expected and what came
REASONS = (
    "measures whole arrays",
    "optimizer that measures whole arrays",
    "only averages of gradients or of their squares can",
    "a master would not follow",
    "which computes its average from the parameter",
    "Lookahead moves the parameters after its steps",
    "by rules that step each element alone",
    "in their own dtype",
)
CLASSES = [
    value
    for name, value in inspect.getmembers(gdfast, inspect.isclass)
    if hasattr(value, "step") and value is not gdfast.Optimizer and not name.startswith("_")
]


def options_of(options):
    return {name: np.zeros(SHAPE, value) if name == "copies" else value for name, value in options.items()}


def run(kind, name, engine):
    """Return every byte after some steps."""
    dtype, grad_dtype, options = FORMATS[name]
    rng = np.random.default_rng(1)
    w = rng.standard_normal(SHAPE).astype("f4").astype(dtype)
    options = {**options_of(options), "engine": engine}
    grads = [rng.standard_normal(SHAPE).astype("f4").astype(grad_dtype) for _ in range(3)]
    if kind is gdfast.LBFGS:
        kind(w, **options).step(lambda: (1.0, grads[0]))
        return []
    opt = gdfast.Lookahead(gdfast.Adam(w, **options), k=2) if kind is gdfast.Lookahead else kind(w, **options)
    for grad in grads:
        opt.step(grad)
    for switch in ("eval", "train") if hasattr(opt, "eval") else ():
        getattr(opt, switch)()
    state = getattr(opt, "optimizer", opt).state["0"]
    copies = [options["copies"]] if "copies" in options else []
    return [array.tobytes() for array in (w, *copies, *state.values())]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_works_bit_for_bit_or_says_why_not(kind, name):
    if name not in REFUSED.get(kind.__name__, ()):
        assert run(kind, name, "native") == run(kind, name, "numpy")
        return
    messages = []
    for engine in ("native", "numpy"):
        with pytest.raises((TypeError, ValueError)) as caught:
            run(kind, name, engine)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert any(reason.lower() in messages[0].lower() for reason in REASONS), messages[0]


def test_the_table_in_the_docs_names_every_class_that_refuses():
    text = (Path(__file__).parents[2] / "docs" / "fewer-bytes.md").read_text()
    table = text.partition("## What is refused")[2].partition("\n## ")[0]
    assert not [name for name in REFUSED if f"`{name}`" not in table]
    assert len(CLASSES) > 25
    assert REFUSED.keys() <= {kind.__name__ for kind in CLASSES}


def test_a_schedule_free_average_is_that_of_float32():
    """A master holds the parameter in full: what is shown of y and of x is the nearest to float32's."""
    rng = np.random.default_rng(2)
    first, grads = rng.standard_normal(SHAPE).astype(BFLOAT16), rng.standard_normal((4, *SHAPE)).astype("f4")
    for kind in (gdfast.ScheduleFreeSGD, gdfast.ScheduleFreeAdamW):
        for master in ("split", "float32"):
            exact, w = first.astype("f4"), first.copy()
            reference, opt = kind(exact), kind(w, master=master)
            for grad in grads:
                reference.step(grad)
                opt.step(grad)
                for switch in ("eval", "train"):
                    getattr(reference, switch)()
                    getattr(opt, switch)()
                    if master == "float32":
                        assert np.array_equal(opt.state["0"]["master"], exact)
                        assert np.array_equal(w, exact.astype(BFLOAT16))
                    else:
                        low = opt.state["0"]["remainder"].astype(np.int64)
                        bits = (w.view(np.uint16).astype(np.int64) << 16) + low
                        assert np.array_equal(bits.astype(np.uint32).view("f4"), exact)
