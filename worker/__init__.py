"""The process that computes."""
