"""Which errors a person has to mend, and which may pass by themselves."""

import errno
import os

import pytest

from videojam_jax.errors import MayPass, UserError, caused, may_pass
from videojam_jax.files import write_whole


def of_system(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ECONNRESET", "ETIMEDOUT", "EREMOTEIO", "ENODEV"])
def test_what_a_network_disk_does_in_passing_may_pass(name):
    error = of_system(getattr(errno, name))
    assert may_pass(error) and isinstance(caused("x", error), MayPass)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "ENOENT", "ENOTDIR", "EMFILE"])
def test_what_a_person_has_to_mend_does_not_pass(name):
    error = of_system(getattr(errno, name))
    assert not may_pass(error) and isinstance(caused("x", error), UserError)


def test_a_library_s_error_is_what_it_was_raised_from_or_ends_in():
    def wrapped(cause):
        try:
            try:
                raise cause
            except OSError as error:
                raise ValueError("cannot save") from error
        except ValueError as error:
            return error

    assert may_pass(wrapped(of_system(errno.EIO)))
    assert not may_pass(wrapped(of_system(errno.ENOSPC)))
    # As ArrayRecord and TensorStore hand it on: without a number.
    assert may_pass(RuntimeError("read() failed: Input/output error; reading clips-00000"))
    assert may_pass(ValueError("DATA_LOSS: [OS error 116: Stale file handle]"))
    assert not may_pass(RuntimeError("DATA_LOSS: checksum mismatch"))
    assert not may_pass(OSError("the file is not whole after writing"))
    chain = ValueError("round")
    chain.__cause__ = chain
    assert not may_pass(chain)


def test_a_file_that_cannot_be_written_for_now_says_so_with_its_name(tmp_path, monkeypatch):
    def stale(_):
        raise of_system(errno.ESTALE)

    monkeypatch.setattr("os.fsync", stale)
    with pytest.raises(MayPass, match=r"cannot write .*/log: Stale file handle"):
        write_whole(tmp_path / "log", "x")
    assert not list(tmp_path.iterdir())
