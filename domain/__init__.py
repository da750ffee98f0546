"""The rules of tasks and credits: pure, without I/O and without a clock."""
