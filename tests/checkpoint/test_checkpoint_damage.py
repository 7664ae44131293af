"""A checkpoint that is damaged, lies, or belongs to another optimizer is an error that says so, and changes nothing."""

import errno
import io
import json
import os
import random

import numpy as np
import pytest
from checkpoints import contents, full, in_manifest, join, loader, manifest_of, saved_in, signed, split

import gdfast
from gdfast.checkpoint import CheckpointError, DamagedError, MismatchError, VersionError


@pytest.fixture
def saved(tmp_path):
    return saved_in(tmp_path)


@pytest.fixture
def loading(tmp_path):
    return loader(tmp_path)


@pytest.fixture
def small(tmp_path):
    """The bytes of a checkpoint with a short header, and a call that loads such bytes and expects an error."""
    param = np.linspace(0, 1, 50)
    opt = gdfast.SGD(param, momentum=0.5)
    opt.step(param.copy())
    gdfast.save(tmp_path / "c", opt)
    before = param.tobytes(), opt.state["0"]["momentum_buffer"].tobytes(), repr(opt)

    def load(data, error=CheckpointError):
        (tmp_path / "c").write_bytes(data)
        with pytest.raises(error):
            gdfast.load(tmp_path / "c", opt)
        assert (param.tobytes(), opt.state["0"]["momentum_buffer"].tobytes(), repr(opt)) == before

    return (tmp_path / "c").read_bytes(), load


def test_truncated_anywhere(small):
    saved, loading = small
    length = 8 + int.from_bytes(saved[:8], "little")
    body = random.Random(0).sample(range(length, len(saved)), 30)
    for end in (*range(length), length, *body, len(saved) - 1):
        loading(saved[:end], DamagedError)
    for more in (b"\0", saved):
        loading(saved + more, DamagedError)


def test_any_bit_flipped(small):
    saved, loading = small
    chance = random.Random(0)
    length = 8 + int.from_bytes(saved[:8], "little")
    for place in (*range(length), *chance.sample(range(length, len(saved)), 100)):
        flipped = bytearray(saved)
        flipped[place] ^= 1 << chance.randrange(8)
        loading(bytes(flipped))


def test_two_arrays_exchanged(saved, loading):
    header, body = split(saved)
    one, other = header["params/b"], header["state/b/exp_avg"]
    one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]
    loading(join(header, body), DamagedError, "the bytes of .*b.* are altered: their checksum differs")


def at(*path):
    """A change of one thing in the header."""

    def change(value):
        def apply(header, manifest):
            place = header
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value

        return apply

    return change


def both(*path):
    def change(value):
        def apply(header, manifest):
            header[path[0]][path[1]] = manifest["arrays"][path[0]][path[1]] = value

        return apply

    return change


def lacking(key):
    return lambda header, manifest: manifest.pop(key)


LIES = {
    "overlap": (at("params/b", "data_offsets")([16, 24]), DamagedError, "must begin at"),
    "out of range": (at("params/b", "data_offsets")([2**62, 2**62 + 8]), DamagedError, "must begin at"),
    "size": (at("params/b", "data_offsets")([0, 2**62]), DamagedError, "gives params/b 4611686018427387904 bytes"),
    "backwards": (at("params/b", "data_offsets")([8, 0]), DamagedError, "the header gives params/b -8 bytes"),
    "offsets": (at("params/b", "data_offsets")([0]), DamagedError, r"altered: data_offsets \[0\]"),
    "offset kind": (at("params/b", "data_offsets")([0, 8.0]), DamagedError, "altered: data_offsets"),
    "negative": (at("params/b", "data_offsets")([-8, 0]), DamagedError, "altered: data_offsets"),
    "shape": (at("params/b", "shape")([3]), DamagedError, "disagree about the dtype or shape of params/b"),
    "dtype": (at("params/b", "dtype")("F32"), DamagedError, "disagree about the dtype or shape of params/b"),
    "huge shape": (both("params/b", "shape")([2**62, 4]), DamagedError, "8 bytes, which does not fit its dtype"),
    "shape kind": (both("params/b", "shape")("x"), DamagedError, "altered: dtype 'F64', shape 'x'"),
    "shape items": (both("params/b", "shape")([True]), DamagedError, r"altered: dtype 'F64', shape \[True\]"),
    "dtype kind": (both("params/b", "dtype")([]), DamagedError, r"altered: dtype \[\]"),
    "dtype name": (both("params/b", "dtype")("F8_E5M2"), DamagedError, "altered: dtype 'F8_E5M2'"),
    "row": (at("params/b")(3), DamagedError, "its entry for params/b is altered"),
    "known row": (in_manifest("arrays", "params/b")(3), DamagedError, "its entry for params/b is altered"),
    "more": (at("params/x")({}), DamagedError, r"name different arrays: \['params/x'\]"),
    "checksum": (in_manifest("arrays", "params/b", "sha256")(None), DamagedError, "bytes of params/b are altered"),
    "no arrays": (in_manifest("arrays")([]), DamagedError, "names no arrays"),
    "no guard": (lacking("guard"), DamagedError, "it lacks guard"),
    "no extra": (lacking("extra"), DamagedError, "it lacks extra"),
    "no such array": (in_manifest("extra")({"$array": "z"}), DamagedError, "its data refer to 'z', which"),
    "no such float": (in_manifest("extra")({"$float": []}), DamagedError, r"its data refer to \[\], which"),
    "optimizer": (in_manifest("optimizer")("SGD"), MismatchError, "optimizer must be Adam; got 'SGD'"),
    "rule": (in_manifest("param_groups", 0, "rules")(["amsgrad"]), MismatchError, "must use adam; got"),
    "guard": (in_manifest("guard", "clip_norm")(-1), MismatchError, "clip_norm must be in"),
    "guard kind": (in_manifest("guard")([]), MismatchError, "guard: "),
    "memory": (in_manifest("memory")([{}]), MismatchError, "memory must be a list of 0 dicts"),
    "groups": (in_manifest("param_groups")(3), MismatchError, "param_groups must be a list of 1; got int"),
    "group": (in_manifest("param_groups")([3]), MismatchError, r"param_groups\[0\] must be a dict; got int"),
    "more groups": (in_manifest("param_groups")([{}, {}]), MismatchError, "param_groups must be a list of 1; got 2"),
    "value": (in_manifest("param_groups", 0, "eps")("x"), MismatchError, "eps must be a number"),
    "schedule": (
        in_manifest("param_groups", 0, "lr")({"schedule": "os.system", "arguments": {}}),
        MismatchError,
        "lr must be a schedule known to this version of gdfast; got 'os.system'",
    ),
    "schedule kind": (in_manifest("param_groups", 0, "lr")({"schedule": []}), MismatchError, "a schedule known"),
    "arguments": (
        in_manifest("param_groups", 0, "lr")({"schedule": "Cosine", "arguments": {"lr": -1, "total_steps": 3}}),
        MismatchError,
        "lr must be a Cosine as gdfast writes it: lr must be a finite number",
    ),
    "argument names": (
        in_manifest("param_groups", 0, "lr")({"schedule": "Constant", "arguments": {"z": 1}}),
        MismatchError,
        "must be a Constant as gdfast writes it: .*unexpected keyword",
    ),
    "inner schedule": (
        in_manifest("param_groups", 0, "lr")(
            {"schedule": "Scaled", "arguments": {"schedule": {"schedule": "X"}, "factor": 1.0}}
        ),
        MismatchError,
        "lr.schedule must be a schedule known to this version of gdfast; got 'X'",
    ),
    "no arguments": (in_manifest("param_groups", 0, "lr")({"schedule": "Cosine"}), MismatchError, "must be a Cosine"),
    "arguments kind": (
        in_manifest("param_groups", 0, "lr")({"schedule": "Cosine", "arguments": []}),
        MismatchError,
        "must be a Cosine",
    ),
    "state of a schedule": (
        in_manifest("param_groups", 0, "lr", "arguments", "schedule", "state")({"best": 1}),
        MismatchError,
        "must be a ReduceOnPlateau as gdfast writes it: state must have the entries",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_entry_is_named(saved, loading, name):
    change, error, message = LIES[name]
    header, body = split(saved)
    manifest = manifest_of(header)
    change(header, manifest)
    loading(join(signed(header, manifest), body), error, message)


def test_false_headers(saved, loading):
    header, body = split(saved)
    text = json.dumps(header)
    key = header["__metadata__"]["gdfast"]
    loading(b"", DamagedError, "it is no checkpoint")
    loading(join(header, body, length=2**63), DamagedError, "a header of 9223372036854775808 bytes, in")
    loading(join(header, body, length=2 * len(saved)), DamagedError, "it is no checkpoint, or truncated")
    loading(join(b"\xff" + text.encode()[1:], body), DamagedError, "its header is not text")
    loading(join(b"{" * 100_000, body), DamagedError, "its JSON is")
    loading(join(b"[" * 100_000, body), DamagedError, "its JSON is nested too deeply")
    loading(join(b"[" * 500 + b"]" * 500, body), DamagedError, "its JSON is nested too deeply")
    loading(join(b'{"a":NaN}', body), DamagedError, "the number NaN, which is not finite")
    loading(join(b'{"a":1e999}', body), DamagedError, "the number 1e999, which is not finite")
    loading(join(b'{"a":1.5,"a":1}', body), DamagedError, "has the key 'a' twice")
    loading(join(b'{"a":' + b"1" * 5000 + b"}", body), DamagedError, "its JSON is broken")
    loading(join(b"[1.5]", body), DamagedError, "its metadata has no 'gdfast'")
    loading(join({"__metadata__": []}, body), DamagedError, "its metadata has no 'gdfast'")
    loading(join({"__metadata__": {"gdfast": 1}}, body), DamagedError, "its metadata has no 'gdfast'")
    loading(join({"__metadata__": {"gdfast": "1 " + key}}, body), DamagedError, "'gdfast' is altered$")
    loading(join({"__metadata__": {"gdfast": key[:-1] + " }"}}, body), DamagedError, "the checksum differs")
    loading(join({"__metadata__": {"gdfast": "2" + key[1:]}}, body), VersionError, "it has format 2, and this gdfast")
    loading(join(signed(header, manifest_of(header), version=0), body), DamagedError, "no version 0")
    twice = text[:-1] + ', "params/b": ' + json.dumps(header["params/b"]) + "}"
    loading(join(twice.encode(), body), DamagedError, "the key 'params/b' twice")


def test_impossible_arrays_in_extra(saved, loading):
    header, body = split(saved)
    manifest = manifest_of(header)
    for shape in ([1] * 70 + [0], [0, 2**62, 2**62]):
        header["extra/x"] = {"dtype": "F64", "shape": shape, "data_offsets": [0, 0]}
        manifest["arrays"]["extra/x"] = {"dtype": "F64", "shape": shape, "sha256": "0"}
        loading(join(signed(header, manifest), body), DamagedError, "extra/x cannot be")


OTHERS = {
    "class": (lambda p: gdfast.AdamW(p, ema_decay=0.9), "optimizer must be AdamW; got 'Adam'"),
    "rule": (lambda p: gdfast.Adam(p, amsgrad=True, ema_decay=0.9), "must use amsgrad; got"),
    "state": (lambda p: gdfast.Adam(p, amsgrad=True, ema_decay=0.9), 'lacks "state/W/max_exp_avg_sq"'),
    "average": (lambda p: gdfast.Adam(p), "averaging must be off"),
    "name": (lambda p: gdfast.Adam({**p, "more": np.zeros(1)}, ema_decay=0.9), 'the file lacks "params/more"'),
    "fewer": (lambda p: gdfast.Adam({"W": p["W"]}, ema_decay=0.9), 'has "params/b", which this optimizer does not'),
    "shape": (lambda p: gdfast.Adam({**p, "W": p["W"].T.copy()}, ema_decay=0.9), r"shape \(3, 2\); got \(2, 3\)"),
    "dtype": (lambda p: gdfast.Adam({**p, "W": p["W"].astype("f8")}, ema_decay=0.9), "dtype float64; got float32"),
    "groups": (
        lambda p: gdfast.Adam([{"params": {"W": p["W"]}}, {"params": {"b": p["b"]}}], ema_decay=0.9),
        "param_groups must be a list of 2; got 1",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_optimizer(saved, tmp_path, name):
    make, message = OTHERS[name]
    params, _ = full(5.0)
    opt = make(params)
    before = contents(params, opt)
    with pytest.raises(MismatchError, match=message):
        gdfast.load(tmp_path / "good", opt)
    assert contents(params, opt) == before


def test_every_difference_is_named(saved, tmp_path):
    with pytest.raises(MismatchError, match="does not fit this optimizer") as caught:
        gdfast.load(tmp_path / "good", gdfast.SGD({"x": np.zeros(3)}, momentum=0.5))
    for part in ("good", "optimizer must be SGD", "must use momentum", "params/x", "state/W/exp_avg", "averaging"):
        assert part in str(caught.value)


def test_arrays_that_became_read_only(saved, loading, tmp_path):
    loading.params["b"].flags.writeable = False
    loading(saved, MismatchError, "params/b must be writeable")


def test_a_disk_that_fails_is_named(loading, saved, tmp_path, monkeypatch):
    from gdfast.checkpoint import loading as module

    class Failing(io.FileIO):
        def readinto(self, memory):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "open", lambda path, mode, buffering: Failing(path), raising=False)
    loading(saved, OSError, match=f"Input/output error: '{tmp_path / 'c'}'")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_paths_that_are_not_files(path):
    with pytest.raises(DamagedError, match="it is no checkpoint"):
        gdfast.load(path, gdfast.SGD(np.zeros(1)))


def test_a_file_that_changes_while_it_is_loaded(saved, loading, tmp_path, monkeypatch):
    from gdfast.checkpoint import loading as module

    verified = []

    def verify_then(change):
        usual = module.verify

        def verify(file, name, *rest):
            usual(file, name, *rest)
            verified.append(name)
            if len(verified) == len(loading.params) * 4:  # the last one
                change()

        return verify

    for change, message in (
        (lambda: os.truncate(tmp_path / "c", 9), "truncated"),
        (lambda: os.utime(tmp_path / "c", (1, 1)), "changed"),
    ):
        verified.clear()
        (tmp_path / "c").write_bytes(saved)
        with monkeypatch.context() as patch:
            patch.setattr(module, "verify", verify_then(change))
            with pytest.raises(DamagedError, match=f"it was {message}.* holds only parts of it") as caught:
                gdfast.load(tmp_path / "c", loading.opt)
        assert caught.value.__cause__ is not None
    (tmp_path / "c").write_bytes(saved)
    gdfast.load(tmp_path / "c", loading.opt)
