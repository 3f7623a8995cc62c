"""`python -m server`: the service's command line without the client's."""

import sys

from server.cli import main

if __name__ == "__main__":
    sys.exit(main())
