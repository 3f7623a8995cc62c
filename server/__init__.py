"""The machine room: the command line, the supervisor of the processes, and the embedded broker."""
