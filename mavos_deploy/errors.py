"""The one exception that means: the caller can fix this, and the message says how."""

import errno


class MavosError(Exception):
    """Bad input, a damaged file or a missing dependency.

    The message is one line that names what was got, what is accepted and what to do. The command
    line prints it and exits with 2; anything else that escapes is a bug of ours.
    """


class BundleError(MavosError):
    """A bundle that is incomplete, altered, of an unknown version, or unfit for the request."""


class CheckpointError(MavosError):
    """A checkpoint that can't be read safely or doesn't fit the variant."""


class InputError(MavosError):
    """A frame, video, mask, size or path that can't be used."""


class BackendError(MavosError):
    """An inference library that is missing, or that failed to load or run a graph."""


class PoisonedError(MavosError):
    """A memory that holds NaN or infinite values, so that no mask can come from it."""


class ServerError(MavosError):
    """A server that can't be reached, doesn't answer in time or refuses a request."""


class StreamLostError(ServerError):
    """A server that holds no state of a stream any more; only starting it again helps."""


def one_line(error: BaseException, longest: int | None = 300) -> str:
    """The start of a library's message, without its line breaks.

    Args:
        error: With the message.
        longest: Characters to keep; None for all.
    """
    return " ".join(str(error).split())[:longest]


_SHORT = (
    (
        "there is not enough memory; raise the limit (`ulimit -v`, the container's), or use a "
        "smaller video or bundle",
        errno.ENOMEM,
        ("bad_alloc", "failed to map segment", "cannot allocate memory", "bad allocation"),
    ),
    (
        "no more threads or processes may be started; raise the limit (`ulimit -u` or `-v`, the "
        "container's), or pass a smaller --threads or --workers",
        errno.EAGAIN,
        ("can't start new thread", "resource temporarily unavailable"),
    ),
)


def shortage(error: BaseException) -> str | None:
    """Advice about an error that a limit of this machine or process caused; None for others.

    Args:
        error: Python's own, or a library's, of which only the words are known.
    """
    said = str(error).lower()
    for advice, code, words in _SHORT:
        of_memory = code == errno.ENOMEM and isinstance(error, MemoryError)
        if of_memory or getattr(error, "errno", None) == code or any(w in said for w in words):
            return advice
    return None
