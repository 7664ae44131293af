"""What the tests of checkpoints share: an optimizer with everything in it, its file, and files that lie."""

import hashlib
import json

import numpy as np
import pytest

import gdfast
from gdfast import schedules
from gdfast.checkpoint import CheckpointError

EXTRA = {"epoch": 3, "best": float("inf"), "rng": np.random.PCG64(5).state, "log": [1.5, None, True, "x"]}


def grads_of(params, step):
    return {
        name: np.cos(np.arange(a.size) * (step + 1.0)).reshape(a.shape).astype(a.dtype) for name, a in params.items()
    }


def full(seed=0.0, **options):
    """An optimizer with state, averages, schedules, and two dtypes, after two steps."""
    params = {"W": np.full((2, 3), 1 + seed, np.float32), "b": np.full((), seed), "none": np.zeros((0, 4))}
    lr = schedules.Warmup(schedules.ReduceOnPlateau(0.1, patience=0), 3)
    opt = gdfast.Adam(params, **{"lr": lr, "ema_decay": 0.9, "clip_norm": 2.0, **options})
    for step in range(2):
        opt.step(grads_of(params, step))
    return params, opt


def contents(params, opt):
    """All that a checkpoint could change, as something to compare."""
    state = opt.state_dict()
    arrays = {f"{name}/{key}": a.tobytes() for name, states in state.pop("state").items() for key, a in states.items()}
    sums = {name: array.tobytes() for name, array in state.pop("sums").items()}
    return {name: array.tobytes() for name, array in params.items()}, arrays, sums, repr(state)


def split(data):
    """A file's header, as JSON, and its body."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def manifest_of(header):
    return json.loads(header["__metadata__"]["gdfast"].split(" ", 2)[2])


def signed(header, manifest, version=1):
    """The header with another manifest, its checksum right."""
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    digest = hashlib.sha256(f"{version} {text}".encode()).hexdigest()
    return {**header, "__metadata__": {"gdfast": f"{version} {digest} {text}"}}


def in_manifest(*path):
    """A change of one thing in the manifest, under a right checksum."""

    def change(value):
        def apply(header, manifest):
            place = manifest
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value

        return apply

    return change


def saved_in(folder):
    """The bytes of a checkpoint, which is there as `good`."""
    gdfast.save(folder / "good", full()[1], extra=EXTRA)
    return (folder / "good").read_bytes()


def loader(folder):
    """A call that loads such bytes into another optimizer, expects that to be refused, and looks for changes."""
    params, opt = full(3.0)
    before = contents(params, opt)

    def load(data, error=CheckpointError, match=None):
        (folder / "c").write_bytes(data)
        with pytest.raises(error, match=match):
            gdfast.load(folder / "c", opt)
        assert contents(params, opt) == before

    load.opt, load.params = opt, params
    return load
