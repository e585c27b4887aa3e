"""Locks on open files."""

import os
from pathlib import Path

import pytest

from everymode.wgan.portable import lock, read_from_start, user


def test_a_lock_is_held_by_one_or_shared(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    one, other = (os.open(path, os.O_RDWR) for _ in range(2))
    try:
        lock(one, wait=False)
        with pytest.raises(BlockingIOError):
            lock(other, wait=False)
        os.close(one)
        lock(other, shared=True)
        one = os.open(path, os.O_RDWR)
        lock(one, shared=True, wait=False)
        os.lseek(one, 3, os.SEEK_SET)
        assert read_from_start(one, 4) == b"cont" and os.read(one, 4) == b"tent"
    finally:
        os.close(one)
        os.close(other)


def test_files_are_the_user_s(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_uid == user()
