"""The one exception that means: the caller can fix this, and the message says how."""


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
