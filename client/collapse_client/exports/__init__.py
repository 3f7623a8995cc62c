"""What the service found, in the files and servers of other tools: one module for each, an optional extra each."""
