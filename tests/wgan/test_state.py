"""Files are written whole; what is read is checked."""

import errno
import os
import stat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from everymode.wgan.errors import DamagedError, EveryModeError, StateError
from everymode.wgan.files import (
    append,
    is_temporary,
    read_json,
    remove_tree,
    temporary_beside,
    write_bytes,
    write_json,
    write_whole,
)
from everymode.wgan.state import read_tensors, write_tensors

TENSORS = {
    "vector": torch.tensor([1.0, -0.0, float("inf"), 1e-45]),
    "turned": torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T,
    "rng": torch.Generator().manual_seed(3).get_state(),
    "count": torch.tensor(7),
    "nothing": torch.zeros(0),
}
META = {"plan": "abc", "note": 'ü "quoted" \n'}


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_tensors_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "state.safetensors"
    write_tensors(path, TENSORS, META)
    tensors, meta = read_tensors(path)
    assert meta == META and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert torch.signbit(tensors["vector"][1])
    assert os.listdir(path.parent) == [path.name]


def test_tensors_without_meta_or_written_elsewhere(tmp_path):
    write_tensors(tmp_path / "a", {}, {})
    assert read_tensors(tmp_path / "a") == ({}, {})
    # Without a digest, nobody could tell whether it is as it was written.
    (tmp_path / "b").write_bytes(save({"x": torch.ones(2)}))
    with pytest.raises(StateError, match="lacks a digest"):
        read_tensors(tmp_path / "b")


def test_tensors_with_a_graph_are_written(tmp_path):
    write_tensors(tmp_path / "a", {"x": torch.ones(2, requires_grad=True)}, {})
    assert torch.equal(read_tensors(tmp_path / "a")[0]["x"], torch.ones(2))


FAILURES = {
    "flush": ("os.fsync", full),
    "rename": ("pathlib.Path.replace", full),
    "create": ("os.open", full),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("old", [None, b"as it was"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, failure, old):
    path = tmp_path / "state"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr(*FAILURES[failure])
        with pytest.raises(StateError) as caught:
            write_bytes(path, b"new")
    message = str(caught.value)
    assert str(path) in message and "No space left" in message and "--out" in message
    assert isinstance(caught.value, EveryModeError)
    assert os.listdir(tmp_path) == ([] if old is None else ["state"])
    assert old is None or path.read_bytes() == old
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "state"
    path.write_bytes(b"as it was")

    def half(file):
        file.write(b"ne")
        raise error

    with pytest.raises(error):
        write_whole(path, half)
    assert path.read_bytes() == b"as it was" and os.listdir(tmp_path) == ["state"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"old")
    seen = []

    def write(file):
        file.write(b"new")
        seen.append((path.read_bytes(), len(os.listdir(tmp_path))))

    write_whole(path, write)
    # Beside the target: a rename between file systems would not be atomic.
    assert seen == [(b"old", 2)] and path.read_bytes() == b"new"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_the_users_to_say(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "rows", b"private")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == mode


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file"):
        write_bytes(tmp_path / "file" / "state", b"")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(StateError, match="folder"):
        write_bytes(tmp_path / "folder", b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_json_comes_back_and_nan_is_refused(tmp_path):
    path = tmp_path / "value.json"
    value = {"ü": [1, 2.5, None, True], "deep": {"x": ""}}
    write_json(path, value)
    assert read_json(path) == value
    assert "ü" in path.read_text(encoding="utf-8")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, [bad])
    assert read_json(path) == value and os.listdir(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{", b'{"a": 1} x'])
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(StateError, match="cannot read") as caught:
        read_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_json, read_tensors])
def test_what_is_missing_or_a_folder_is_named(tmp_path, read):
    with pytest.raises(StateError, match="is missing") as caught:
        read(tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    with pytest.raises(StateError, match="cannot read") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_every_shorter_file_is_refused(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_tensors(whole, {"a": torch.arange(3.0), "b": torch.tensor([1])}, {"k": "v"})
    content = whole.read_bytes()
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(StateError, match="damaged") as caught:
            read_tensors(cut)
        assert str(cut) in str(caught.value)
    cut.write_bytes(content + b"x")
    with pytest.raises(StateError, match="damaged"):
        read_tensors(cut)


def header(text):
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"round,loss\n1,0.5\n" * 10,
        b"\x00" * 100,
        b"\xff" * 100,
        header(b"[]"),
        header(b"null"),
        header(b'{"a": 1}'),
        header(b'{"__metadata__": {"k": 1}}'),
        header(b'{"__metadata__": []}'),
        header(b"[" * 5000),
        header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}') + b"\x00" * 4,
        header(b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}') + b"\x00" * 4,
    ],
)
def test_other_formats_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StateError, match="damaged"):
        read_tensors(tmp_path / "x")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_never_shows_as_another_error(tmp_path_factory, data):
    content = bytearray(save({"a": torch.arange(3.0), "b": torch.tensor([1])}, {"k": "v"}))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage", numbered=True) / "x"
    path.write_bytes(content)
    try:
        tensors, meta = read_tensors(path)
    except StateError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(t, torch.Tensor) for t in tensors.values())
        assert isinstance(meta, dict)


def test_several_problems_are_several_lines():
    error = StateError(["one", "two"])
    assert error.problems == ("one", "two") and str(error) == "one\ntwo"
    assert StateError("only").problems == ("only",)


def test_every_flipped_bit_is_told(tmp_path):
    whole, flipped = tmp_path / "whole", tmp_path / "flipped"
    write_tensors(whole, {"a": torch.arange(3.0), "b": torch.tensor([1])}, {"k": "v"})
    content = whole.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            flipped.write_bytes(damaged)
            with pytest.raises(DamagedError, match="damaged"):
                read_tensors(flipped)


def test_equal_states_make_equal_files_and_others_do_not(tmp_path):
    for name, meta in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"}), ("c", {"x": "1"})):
        write_tensors(tmp_path / name, TENSORS, meta)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_file_that_is_replaced_hands_its_permissions_on(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and path.read_bytes() == b"new"


def test_what_is_private_is_so_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        write_bytes(tmp_path / "new" / "deep" / "rows", b"private", private=True)
        (tmp_path / "old").write_bytes(b"")
        (tmp_path / "old").chmod(0o644)
        write_bytes(tmp_path / "old", b"private", private=True)
    finally:
        os.umask(before)
    modes = {n: stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("new", "new/deep", "old")}
    assert modes == {"new": 0o700, "new/deep": 0o700, "old": 0o600}
    assert stat.S_IMODE((tmp_path / "new" / "deep" / "rows").stat().st_mode) == 0o600


def test_no_link_is_followed(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    # Even where somebody foresaw the temporary name.
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".everymode-{'0' * 16}.part").symlink_to(precious)
    with pytest.raises(StateError, match="File exists"):
        write_bytes(tmp_path / "state", b"new")
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(precious)
    write_bytes(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink() and precious.read_bytes() == b"mine"
    (tmp_path / "lines").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        append(tmp_path / "lines", b"more")
    assert precious.read_bytes() == b"mine"


def test_the_disk_is_waited_for_where_it_matters(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, (tmp_path / "new" / "state").exists()))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_bytes(tmp_path / "new" / "state", b"x")
    # The file before it gets its name; then its folder, and the one that holds the new folder.
    assert flushed == [("file", False), ("folder", True), ("folder", True)]
    flushed.clear()
    write_bytes(tmp_path / "new" / "state", b"y", durable=False)
    assert flushed == [] and (tmp_path / "new" / "state").read_bytes() == b"y"


def test_a_temporary_name_is_random_and_fits_whatever_the_file_is_called(tmp_path):
    path = tmp_path / ("x" * 250)
    write_bytes(path, b"long")
    assert path.read_bytes() == b"long"
    one, two = temporary_beside(path), temporary_beside(path)
    assert one != two and is_temporary(one.name) and not is_temporary(path.name)


def test_removing_a_folder_follows_no_link(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("folder", "link", "absent"):
        remove_tree(tmp_path / name)
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(tmp_path / "mine") == ["precious"]


@pytest.mark.parametrize("content", [b"[NaN]", b'{"a": Infinity}', b"[" * 5000])
def test_json_is_strict(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StateError, match="cannot read"):
        read_json(tmp_path / "x")
