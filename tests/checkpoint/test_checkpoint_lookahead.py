"""A Lookahead in a checkpoint: it resumes bit for bit, and what does not fit is named."""

import pytest
from checkpoints import contents, full, grads_of, join, manifest_of, signed, split

import gdfast
from arrays import assert_same_bits
from gdfast.checkpoint import MismatchError


def lookahead(seed=0.0, **options):
    params, inner = full(seed)
    opt = gdfast.Lookahead(inner, **options)
    for step in range(2, 5):
        opt.step(grads_of(params, step))
    return params, opt


def test_lookahead(tmp_path):
    params, opt = lookahead(k=2)
    gdfast.save(tmp_path / "c", opt, extra=1)
    again, resumed = lookahead(7.0, k=3)
    assert gdfast.load(tmp_path / "c", resumed) == 1
    for step in range(5, 8):
        opt.step(grads_of(params, step))
        resumed.step(grads_of(again, step))
    assert_same_bits(again, params)
    assert_same_bits(resumed.slow, opt.slow)
    assert repr(resumed.state_dict()) == repr(opt.state_dict())


def without(key, data):
    return {name: value for name, value in data.items() if name != key}


AROUND = {
    "kind": (lambda data: 3, "lookahead must hold k, met_at and slow, those of a Lookahead; got 3"),
    "keys": (lambda data: without("k", data), "lookahead must hold k, met_at and slow"),
    "slow": (lambda data: {**data, "slow": []}, "lookahead must hold k, met_at and slow"),
    "slow keys": (
        lambda data: {**data, "slow": without("guard", data["slow"])},
        "slow must have optimizer, step_count",
    ),
    "k": (lambda data: {**data, "k": 0}, "k must be at least 1; got 0"),
    "met_at": (lambda data: {**data, "met_at": "x"}, "met_at must be an int; got 'x'"),
}


@pytest.mark.parametrize("name", AROUND)
def test_lookahead_with_false_entries(tmp_path, name):
    change, message = AROUND[name]
    params, opt = lookahead()
    gdfast.save(tmp_path / "c", opt)
    header, body = split((tmp_path / "c").read_bytes())
    manifest = manifest_of(header)
    (tmp_path / "c").write_bytes(join(signed(header, {**manifest, "lookahead": change(manifest["lookahead"])}), body))
    before = contents(params, opt.optimizer), repr(opt.state_dict())
    with pytest.raises(MismatchError, match=message):
        gdfast.load(tmp_path / "c", opt)
    assert (contents(params, opt.optimizer), repr(opt.state_dict())) == before


def test_lookahead_only_into_one(tmp_path):
    _, opt = lookahead()
    gdfast.save(tmp_path / "with", opt)
    gdfast.save(tmp_path / "without", opt.optimizer)
    with pytest.raises(MismatchError, match="opt must be a Lookahead around the optimizer, as in the file"):
        gdfast.load(tmp_path / "with", opt.optimizer)
    with pytest.raises(MismatchError, match="lookahead must hold k, met_at and slow, those of a Lookahead; got None"):
        gdfast.load(tmp_path / "without", opt)
