"""`python -m worker`: the worker process."""

from worker.app import main

if __name__ == "__main__":  # the spawned child imports this module again
    main()
