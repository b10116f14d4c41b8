"""The kinds of failure a user can meet, each with the exit code the command line ends with.

| class | exit code | meaning |
|---|---|---|
| `ConfigError` | 2 | a config, an override or a command-line argument is wrong, or the machine cannot do it |
| `DataError` | 3 | a file or the data in it is wrong |
| `NonFiniteError` | 4 | a loss, gradient or parameter became NaN or infinite |
| `CheckpointError` | 5 | no checkpoint can be used |
| `CheckFailed` | 6 | a variant does not do what every variant must do |
| `RunsFailed` | 7 | some runs of a sweep failed; the others are finished |
| `PeerLost` | 8 | another process of the same run did not come, or has ended |
| `Preempted` | 75 | a signal asked the run to stop; everything done so far is saved |
"""


class AttnkitError(Exception):
    """A failure whose message is written for the user: one line, no traceback."""

    exit_code = 1
    #: whether all processes of a run end with it, or one like it, at the same step
    together = False


class ConfigError(AttnkitError):
    """The configuration or command line is wrong, or the machine cannot do what it asks for."""

    exit_code = 2


class DataError(AttnkitError):
    """The data is wrong. Says file and line."""

    exit_code = 3


class NonFiniteError(AttnkitError):
    """A number that must be finite is not. Says which, and at which step."""

    exit_code = 4
    together = True


class CheckpointError(AttnkitError):
    """No usable checkpoint. Says which file and why."""

    exit_code = 5


class CheckFailed(AttnkitError):
    """A variant fails a check. Says which properties, in which forms."""

    exit_code = 6


class RunsFailed(AttnkitError):
    """Some runs of a sweep failed, and the others are finished. Says which, and why."""

    exit_code = 7


class PeerLost(AttnkitError):
    """Another process of the same run did not come, or has ended. Says which, or how that was noticed."""

    exit_code = 8


class Preempted(AttnkitError):
    """A signal asked the run to stop, and it did so after saving. Run again with `--resume`."""

    exit_code = 75
    together = True
