"""Why a command of the machine room does not start.

StartRefused          exit code 1
├── DataFolderInUse   exit code 2
└── CannotLook        exit code 2
"""


class StartRefused(Exception):
    """The message says what is wrong and what to do; the command ends with `exit_code` and leaves nothing running."""

    exit_code = 1


class CannotLook(StartRefused):
    """`collapse doctor` could not look, and so cannot say whether all is well."""

    exit_code = 2


class DataFolderInUse(StartRefused):
    """Another `collapse serve` works on the data folder."""

    exit_code = 2
