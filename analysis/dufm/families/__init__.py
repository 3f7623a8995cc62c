"""Solutions with symmetries: few numbers describe them, whatever the number of classes."""
