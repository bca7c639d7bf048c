"""What a user is meant to read, and the exit statuses of the command line."""

import errno
import os

# Besides 0: something the user can put right; and "stopped by a signal, by the loss of another
# process or by trouble of the machine: run the same command again" (EX_TEMPFAIL), on which
# launchers restart.
WRONG = 2
STOPPED = 75

# What a person has to mend: room on the disk, rights, a name, a limit of the system. Whatever else
# a system says of a file (EIO, ESTALE, ECONNRESET, ETIMEDOUT, ...) may be gone in a minute, as a
# network disk's hiccups are.
MENDABLE = {
    getattr(errno, name)
    for name in (
        "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOENT", "ENOTDIR", "EISDIR",
        "EEXIST", "ENOTEMPTY", "ENAMETOOLONG", "ELOOP", "EXDEV", "EINVAL", "EBADF", "EMFILE",
        "ENFILE", "ENOTSUP", "EADDRINUSE", "EADDRNOTAVAIL",
    )
    if hasattr(errno, name)
}  # fmt: skip


def first_line(error: BaseException) -> str:
    """What an error says, as part of a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class UserError(Exception):
    """Something the user can put right: a path, a config key, a shape.

    Its message is one line that names the file, key or shape that is wrong and
    what would be right. The command line prints it without a traceback and
    exits with status 2.
    """


class MayPass(Exception):
    """Trouble of a machine, its disk or its network that may be gone in a minute.

    Nothing is known to be wrong: run the same command again (status 75). Its message is one line
    that names the file.
    """


class PeerLost(Exception):
    """Another process of this run ended or cannot be reached.

    Nothing is wrong with this one: run the same command again (status 75).
    """


def caused(message: str, error: BaseException) -> UserError | MayPass:
    """`message` as what its cause makes of it: a person's to mend, or what may pass by itself.

    The cause is an OSError, or a library's own error that was raised from one or that ends in what
    the system said of it; an error that names no such thing is a person's.
    """
    return MayPass(message) if may_pass(error) else UserError(message)


def may_pass(error: BaseException) -> bool:
    """Whether an error comes from what a system said of a file that a person need not mend."""
    number = _number(error)
    return number is not None and number not in MENDABLE


def of_system(error: BaseException) -> bool:
    """Whether an error is what a system said of a file, and not of what was found in it."""
    return _number(error) is not None


def _number(error: BaseException) -> int | None:
    """What the system said, as its number, if it said anything."""
    seen: list[BaseException] = []
    while error is not None and not any(error is one for one in seen):
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        seen.append(error)
        error = error.__cause__ or error.__context__
    told = (number for words, number in _WORDS.items() for one in seen if words in str(one))
    return next(told, None)


# Libraries in C++ hand on no number, but its text. Of disks, connections and files that cannot be
# opened alone, since other texts are words that a message may have.
_WORDS = {
    os.strerror(number): number
    for number in (
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED,
        errno.ECONNREFUSED, errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN,
        errno.ENOTCONN, errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ENFILE,
    )
}  # fmt: skip
