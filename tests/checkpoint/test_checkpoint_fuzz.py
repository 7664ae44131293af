"""Files that Hypothesis, or a seeded chance, makes up: an error and no change, whatever they are; never a crash."""

import json
import random

import numpy as np
import pytest
from checkpoints import contents, full, in_manifest, join, loader, manifest_of, saved_in, signed, split
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gdfast
from gdfast.checkpoint import CheckpointError

BOUNDED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture
def saved(tmp_path):
    return saved_in(tmp_path)


@pytest.fixture
def loading(tmp_path):
    return loader(tmp_path)


@settings(max_examples=150, **BOUNDED)
@given(data=st.data())
def test_fuzz_of_the_bytes(saved, loading, data):
    changed = bytearray(saved)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        gone = data.draw(st.integers(0, 40))
        changed[place : place + gone] = data.draw(st.binary(max_size=40))
    if bytes(changed) != saved:
        loading(bytes(changed))


@settings(max_examples=100, **BOUNDED)
@given(
    text=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)),
    length=st.none() | st.integers(0, 400),
)
def test_fuzz_of_random_files(loading, text, length):
    loading(join(text, b"", length))
    loading(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def places(node, path=()):
    """The paths of all that is in some JSON data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@settings(max_examples=200, **BOUNDED)
@given(data=st.data())
def test_fuzz_of_manifests_with_valid_checksums(saved, tmp_path, data):
    """Who can write a checksum can write any number into a file, but neither crash us nor change half an optimizer."""
    header, body = split(saved)
    manifest = manifest_of(header)
    tree = data.draw(st.sampled_from([manifest, header]))
    paths = sorted((path for path in places(tree) if path[0] != "__metadata__"), key=repr)
    in_manifest(*data.draw(st.sampled_from(paths)))(data.draw(JSON))(None, tree)
    params, opt = full(3.0)
    before = contents(params, opt)
    (tmp_path / "c").write_bytes(join(signed(header, manifest), body))
    load_and_step(tmp_path / "c", params, opt, before)


def load_and_step(path, params, opt, before):
    """Load a file: an error that changes nothing, or an optimizer that steps or says what is too large."""
    try:
        gdfast.load(path, opt)
    except CheckpointError:
        assert contents(params, opt) == before
        return
    loaded = contents(params, opt)
    try:
        opt.step({name: np.ones_like(param) for name, param in params.items()})
    except ValueError:
        assert contents(params, opt) == loaded


def test_a_list_instead_of_a_schedule(saved, tmp_path):
    header, body = split(saved)
    manifest = manifest_of(header)
    group = manifest["param_groups"][0]
    group["lr"] = [group["lr"]]
    params, opt = full(3.0)
    before = contents(params, opt)
    (tmp_path / "c").write_bytes(join(signed(header, manifest), body))
    with pytest.raises(CheckpointError, match="lr must be a number"):
        gdfast.load(tmp_path / "c", opt)
    assert contents(params, opt) == before


# What JSON can say and a program may not expect: in its text, and as its values.
TEXTS = [
    *(
        "\\ud800",
        "\\udc00",
        "\\u0000",
        "\\",
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\0",
        "\u00e9",
        "-",
        "0",
        "9",
    ),
    *("1e999", "NaN", "Infinity", "null", "true", "1" * 5000, "[" * 500, "\ud7ff", "\ud800"),
]
VALUES = [
    *(None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**308, 10**400, -(10**400), 1e308, 5e-324, -0.0),
    *("", "\ud800", "x\udfff", "\0", "F64", "BOOL", "x" * 5000, [], {}, [[]], [0] * 70, [0, 10**400], [2**62, 8]),
    *({"$float": "nan"}, {"$float": 1}, {"$array": "params/W"}, {"callable": "x"}, {"schedule": "Constant"}),
    {"schedule": "Constant", "arguments": {"lr": 10**400}},
]


def altered_text(chance, header):
    """The header's JSON with a few places overwritten."""
    text = json.dumps(header)
    for _ in range(chance.choice([1, 1, 2])):
        at, gone = chance.randrange(len(text)), chance.choice([0, 0, 1, 6])
        text = text[:at] + chance.choice(TEXTS) + text[at + gone :]
    return text.encode(errors="surrogatepass")


def altered_values(chance, header):
    """The header with a few values exchanged, removed or renamed, in it or in the manifest, under a right checksum."""
    header, manifest = json.loads(json.dumps(header)), manifest_of(header)
    for tree in chance.choice([(manifest,), (header,), (manifest, header), (manifest, manifest)]):
        path = chance.choice([path for path in places(tree) if path[0] != "__metadata__"])
        place = tree
        for key in path[:-1]:
            place = place[key]
        kind = chance.randrange(4)
        if kind == 0:
            del place[path[-1]]
        elif kind == 1 and isinstance(place, dict):
            place[chance.choice(["\ud800", "", "extra/x", "params/W"])] = place.pop(path[-1])
        else:
            place[path[-1]] = json.loads(json.dumps(chance.choice(VALUES)))
    return json.dumps(signed(header, manifest, chance.choice([1, 1, 1, 1, 0, 2, 10**8]))).encode()


def altered_metadata(chance, header):
    """The header with a checksum, or a text, that no save would write."""
    text = header["__metadata__"]["gdfast"]
    odd = [
        "\ud800",
        "\u00b2 " + "0" * 64 + " {}",
        "1 " + "0" * 64 + ' {"\ud800": 0}',
        text.replace("e", "\ud800", 1),
        text + "}",
    ]
    return json.dumps({**header, "__metadata__": {"gdfast": chance.choice([*odd, None, 1, []])}}).encode()


@pytest.mark.parametrize("seed", range(4))
def test_fuzz_of_the_header(saved, tmp_path, seed):
    """Mutants of its text, its values and its length: 41 of 20,000 raised what no caller of `load` expects."""
    header, body = split(saved)
    chance, size = random.Random(seed), len(json.dumps(header))
    params, opt = full(3.0)
    before = contents(params, opt)
    for _ in range(600):
        text = chance.choice([altered_text, altered_text, altered_values, altered_values, altered_metadata])(
            chance, header
        )
        odd = [0, 1, size - 1, size + 1, size + len(body), 2**31, 10**8 + 1, 2**63, 2**64 - 1]
        (tmp_path / "c").write_bytes(join(text, body, chance.choice([None] * 9 + [chance.choice(odd)])))
        load_and_step(tmp_path / "c", params, opt, before)
        if contents(params, opt) != before:
            params, opt = full(3.0)
