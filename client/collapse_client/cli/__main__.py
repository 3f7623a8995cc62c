"""`python -m collapse_client.cli`."""

import sys

from collapse_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
