"""What the system refuses, as an error with what to do about it."""

from __future__ import annotations

import errno
from pathlib import Path

from talosmake.base.errors import ConfigError

_SPACE = "Make room there (df shows what is left), then run the same command again."
_RIGHTS = "Make the directory writable for you, or run as the user it belongs to."
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EROFS: "The file system is mounted read-only: mount it writable, or work elsewhere.",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "A file stands where a directory has to be: move it away.",
    errno.EISDIR: "A directory stands where a file has to be: move it away.",
    errno.EMFILE: "Allow more open files (ulimit -n), or fewer jobs (-j).",
    errno.ENFILE: "The machine has too many open files; end what opens them.",
    errno.ENOMEM: "The machine has no memory left: end something, or allow fewer jobs (-j).",
    errno.EIO: "The disk, or what serves it, is not in order: look at the system's log.",
    errno.ENAMETOOLONG: "Give what it is named after a shorter name.",
}
_ELSE = "When that is fixed, the same command goes on."


def hint_of(error: OSError) -> str:
    """What to do about it."""
    return _HINTS.get(error.errno or 0, _ELSE)


def as_error(error: OSError, path: Path | str = "", what: str = "") -> ConfigError:
    """An error of the system, told as one of a person's.

    :param path: what it is about, where the system does not say it.
    :param what: what could not be done, e.g. ``cannot be written``.
    """
    names = [str(name) for name in (error.filename, error.filename2) if name]
    where = str(path) or " and ".join(names) or "the system refuses"
    why = error.strerror or str(error) or type(error).__name__
    return ConfigError(": ".join(filter(None, (where, what, why))), hint=hint_of(error))
