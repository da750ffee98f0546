"""Delivery: the composition root, the use cases, the processes, HTTP and the command line."""
