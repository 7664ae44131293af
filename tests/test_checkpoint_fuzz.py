"""Files that Hypothesis makes up: an error and no change, whatever they are; never a crash."""

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
def test_fuzz_from_nothing(loading, text, length):
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
def test_fuzz_of_what_the_checksum_vouches_for(saved, tmp_path, data):
    """Who can write a checksum can write any number into a file, but neither crash us nor change half an optimizer."""
    header, body = split(saved)
    manifest = manifest_of(header)
    tree = data.draw(st.sampled_from([manifest, header]))
    paths = sorted((path for path in places(tree) if path[0] != "__metadata__"), key=repr)
    in_manifest(*data.draw(st.sampled_from(paths)))(data.draw(JSON))(None, tree)
    params, opt = full(3.0)
    before = contents(params, opt)
    (tmp_path / "c").write_bytes(join(signed(header, manifest), body))
    try:
        gdfast.load(tmp_path / "c", opt)
    except CheckpointError:
        assert contents(params, opt) == before
