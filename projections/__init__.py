"""Read models as pure folds of the log, one a module.

Inline, written by the append itself: `tasks` (also the queue) and `accounts`. Behind, written by
projectors: `statement`, `statistics` and `journal`. The table of idempotency keys is no projection
and has no module here: a key and the answer to its request are in no event, so it cannot be derived
from the log, and a rebuild leaves it alone.
"""
