"""A checkpoint of one format loads into an optimizer of another, if asked to; otherwise the error names both."""

import sys
from functools import partial

import numpy as np
import pytest
from checkpoints import join, manifest_of, signed, split

import gdfast

pytest.importorskip("safetensors")

SIZE = 70_001  # more than one piece, and no whole number of blocks
STATES = ("exp_avg", "exp_avg_sq")


def adam(dtype=np.float32, *, shape=(SIZE,), steps=0, **options):
    param = (np.linspace(-3, 3, SIZE).astype(dtype) if shape == (SIZE,) else np.ones(shape)).astype(dtype)
    opt = gdfast.Adam({"w": param}, **{"state_dtype_min_size": 0, **options})
    for step in range(steps):
        opt.step({"w": np.cos(np.arange(param.size) * (step + 1.0)).reshape(shape).astype(np.float32)})
    return opt, param


def value_of(opt, param):
    """The parameter in full precision."""
    state = opt.state["w"]
    if "master" in state:
        return state["master"]
    if "remainder" in state:
        high = param.view(np.uint16).astype(np.uint32) << 16
        return (high + state["remainder"].astype(np.uint32)).view(np.float32)
    return param.astype(np.float32)


@pytest.fixture
def moved(tmp_path):
    """Save one optimizer, and load that into another one."""

    def move(opt, into, **options):
        gdfast.save(tmp_path / "run.safetensors", opt)
        return gdfast.load(tmp_path / "run.safetensors", into, **options)

    return move


@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
def test_float32_state_goes_into_short_state_and_back(form, moved):
    opt, param = adam(steps=3)
    short, again = adam(state_dtype=form), adam()
    result = moved(opt, short[0], convert=True)
    assert result.extra is None
    assert result.converted == {f"state/w/{name}": f"float32 -> {form}" for name in STATES}
    assert short[0].step_count == 3
    assert np.array_equal(short[1], param)
    for name in STATES:
        exact, got = opt.state["w"][name], short[0].state_value("w", name)
        largest = np.abs(np.pad(exact, (0, -SIZE % 128)).reshape(-1, 128)).max(1).repeat(128)[:SIZE]
        assert np.all(np.abs(got - exact) <= np.abs(exact) / 16 + (form == "8bit") * largest * 2.0**-10)
    back = moved(short[0], again[0], convert=True)
    assert back.converted == {f"state/w/{name}": f"{form} -> float32" for name in STATES}
    for name in STATES:  # decoding is exact
        assert again[0].state["w"][name].tobytes() == short[0].state_value("w", name).tobytes()
    again[0].step({"w": np.ones(SIZE, np.float32)})


def test_one_short_format_goes_into_another(moved):
    opt, _ = adam(steps=2, state_dtype="8bit")
    into, _ = adam(state_dtype={"exp_avg": "bfloat16", "exp_avg_sq": "8bit"})
    assert moved(opt, into, convert=True).converted == {"state/w/exp_avg": "8bit -> bfloat16"}
    assert np.array_equal(into.state_value("w", "exp_avg"), opt.state_value("w", "exp_avg"))  # 3 bits of 7
    for name in ("exp_avg_sq", "exp_avg_sq.scales"):
        assert np.array_equal(into.state["w"][name], opt.state["w"][name])


def kinds():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return {
        "float32": partial(adam, np.float32),
        "bfloat16 with a remainder": partial(adam, ml_dtypes.bfloat16),
        "bfloat16 with a master": partial(adam, ml_dtypes.bfloat16, master="float32"),
        "bfloat16": partial(adam, ml_dtypes.bfloat16, master=None),
        "float16 with a master": partial(adam, np.float16),
        "float16": partial(adam, np.float16, master=None, rounding="nearest"),
    }


NAMES = (
    "float32", "bfloat16 with a remainder", "bfloat16 with a master", "bfloat16", "float16 with a master", "float16",
)  # fmt: skip


@pytest.mark.parametrize("into", NAMES)
@pytest.mark.parametrize("form", NAMES)
def test_a_parameter_and_its_master_go_into_any_other_kind(form, into, moved):
    opt, param = kinds()[form](steps=2)
    other, got = kinds()[into]()
    result = moved(opt, other, convert=True)
    assert result.converted == ({} if form == into else {"params/w": f"{form} -> {into}"})
    exact = value_of(opt, param)
    if into == "float32" or " with a " in into:
        assert value_of(other, got).tobytes() == exact.tobytes()
    if "master" in into:
        assert got.tobytes() == exact.astype(got.dtype).tobytes()
    if into in ("bfloat16", "float16"):
        assert np.all(np.abs(got.astype(np.float32) - exact) <= np.abs(exact) * 2.0**-8 + 1e-7)
    assert other.step_count == 2


def test_without_asking_the_error_names_both_formats(moved):
    opt, _ = adam(steps=1)
    into, param = adam(state_dtype="8bit")
    before = param.copy()
    with pytest.raises(gdfast.CheckpointError) as caught:
        moved(opt, into)
    for name in STATES:
        told = f"state/w/{name} must have dtype uint8 (8bit); got float32. It can be converted: convert=True"
        assert told in str(caught.value)
    assert "lacks" not in str(caught.value)
    assert np.array_equal(param, before)
    assert into.step_count == 0


def test_the_error_names_the_kinds_of_parameters(moved):
    opt, _ = kinds()["bfloat16"]()
    into, _ = kinds()["bfloat16 with a remainder"]()
    message = r"params/w must have dtype uint16 \(bfloat16 with a remainder\); got uint16 \(bfloat16\)"
    with pytest.raises(gdfast.CheckpointError, match=message):
        moved(opt, into)


@pytest.mark.parametrize("installed", [True, False])
def test_converting_needs_no_further_package(installed, tmp_path, monkeypatch):
    """A file with bfloat16 in it is read with NumPy alone."""
    opt, param = kinds()["bfloat16 with a remainder"](steps=2, state_dtype="bfloat16")
    gdfast.save(tmp_path / "run.safetensors", opt)
    if not installed:
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    into, got = adam()
    assert len(gdfast.load(tmp_path / "run.safetensors", into, convert=True).converted) == 3
    assert got.tobytes() == value_of(opt, param).tobytes()


def test_copies_hold_what_was_converted(moved):
    opt, _ = kinds()["bfloat16 with a remainder"](steps=2)
    w, copy = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float16)
    moved(opt, gdfast.Adam({"w": w}, copies={"w": copy}), convert=True)
    assert np.array_equal(copy, w.astype(np.float16))


def test_averages_and_extra_data_come_along(moved, tmp_path):
    opt, _ = adam(steps=2, ema_decay=0.5, shape=(3, 50))
    gdfast.save(tmp_path / "run.safetensors", opt, extra={"epoch": 3})
    into, _ = adam(state_dtype="8bit", ema_decay=0.5, shape=(3, 50))
    result = gdfast.load(tmp_path / "run.safetensors", into, convert=True)
    assert result.extra == {"epoch": 3}
    assert np.array_equal(into.state["w"]["ema"], opt.state["w"]["ema"])


@pytest.mark.parametrize(
    ("opt", "into", "message"),
    [
        (adam(), adam(shape=(7,), state_dtype="8bit"), r"params/w must have shape \(7,\); got \(70001,\)"),
        (adam(np.float64), adam(), "params/w must have dtype float32; got float64"),
        (adam(), adam(np.float64), "params/w must have dtype float64; got float32"),
        (adam(), adam(np.float16, shape=(7,)), "params/w must have dtype float16; got float32"),
        (adam(amsgrad=True), adam(state_dtype="8bit"), "max_exp_avg_sq"),
    ],
)
def test_what_does_not_fit_is_refused_all_the_same(opt, into, message, moved):
    with pytest.raises(gdfast.CheckpointError, match=message):
        moved(opt[0], into[0], convert=True)


@pytest.mark.parametrize("convert", [1, None, "yes"])
def test_convert_is_a_bool(convert, tmp_path):
    with pytest.raises(TypeError, match="convert must be a bool"):
        gdfast.load(tmp_path / "none", adam()[0], convert=convert)


def lying(path, change):
    """Give a file another manifest, and other rows of its header, with the checksums right."""
    header, body = split(path.read_bytes())
    manifest = manifest_of(header)
    change(manifest, header)
    path.write_bytes(join(signed(header, manifest), body))


def other_form(manifest, header):
    manifest["formats"]["state/w/exp_avg"] = "9bit"


def no_formats(manifest, header):
    manifest["formats"] = [1]


def other_scales(manifest, header):
    for rows in (manifest["arrays"], header):
        rows["state/w/exp_avg.scales"]["dtype"] = "BOOL"


def other_dtype(manifest, header):
    for rows in (manifest["arrays"], header):
        rows["state/w/exp_avg"]["dtype"] = "I8"


def other_remainder(manifest, header):
    for rows in (manifest["arrays"], header):
        rows["state/w/remainder"]["dtype"] = "BF16"


def not_a_parameter(manifest, header):
    for rows in (manifest["arrays"], header):
        rows["params/w"]["dtype"] = "I16"


@pytest.mark.parametrize(
    "change", [other_form, no_formats, other_scales, other_dtype, other_remainder, not_a_parameter]
)
def test_a_file_that_says_something_else_is_refused(change, tmp_path):
    path = tmp_path / "run.safetensors"
    opt, _ = kinds()["bfloat16 with a remainder"](steps=1, state_dtype="8bit")
    gdfast.save(path, opt)
    lying(path, change)
    with pytest.raises(gdfast.CheckpointError, match="must have dtype"):
        gdfast.load(path, adam()[0], convert=True)


@pytest.mark.parametrize("convert", [True, False])
def test_bytes_of_another_format_are_not_taken_for_the_own(convert, tmp_path):
    path = tmp_path / "run.safetensors"
    gdfast.save(path, adam(steps=1, state_dtype="8bit")[0])
    lying(path, other_form)
    with pytest.raises(
        gdfast.CheckpointError, match="exp_avg must be in the format 8bit_signed; the file has it in '9"
    ):
        gdfast.load(path, adam(state_dtype="8bit")[0], convert=convert)


def test_a_damaged_array_is_found_before_anything_is_converted(tmp_path):
    path = tmp_path / "run.safetensors"
    gdfast.save(path, adam(steps=1)[0])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    into, param = adam(state_dtype="8bit")
    before = param.copy()
    with pytest.raises(gdfast.CheckpointError, match="checksum"):
        gdfast.load(path, into, convert=True)
    assert np.array_equal(param, before)
    assert into.step_count == 0


def test_state_is_converted_without_the_parameters(tmp_path):
    path = tmp_path / "run.safetensors"
    opt, _ = adam(steps=1)
    gdfast.save(path, opt, params=False)
    into, param = adam(state_dtype="8bit")
    before = param.copy()
    assert gdfast.load(path, into, convert=True).converted.keys() == {f"state/w/{name}" for name in STATES}
    assert np.array_equal(param, before)
    half, _ = adam(np.float16)
    with pytest.raises(gdfast.CheckpointError, match='lacks "state/w/master"'):  # what the parameter is, is unknown
        gdfast.load(path, half, convert=True)
