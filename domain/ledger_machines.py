"""The machines of an account and of a hold, and the ledger's own limits."""

from __future__ import annotations

from domain.lifecycle import Lifecycle

_OPEN_OR_FROZEN = ["open", "frozen"]
ACCOUNT = Lifecycle(
    "account",
    ["open", "frozen", "closed"],
    "open",
    [
        *(
            {"trigger": trigger, "source": "open", "dest": "open"}
            for trigger in ("hold", "extend", "change_plan")
        ),
        *(
            {"trigger": trigger, "source": state, "dest": state}
            for trigger in (
                "grant",
                "void",
                "adjust",
                "capture",
                "release",
                "refund",
                "close_books",
            )
            for state in _OPEN_OR_FROZEN
        ),
        {"trigger": "freeze", "source": "open", "dest": "frozen"},
        {"trigger": "unfreeze", "source": "frozen", "dest": "open"},
        {"trigger": "close", "source": _OPEN_OR_FROZEN, "dest": "closed"},
    ],
)
HOLD = Lifecycle(
    "hold",
    ["held", "captured", "released", "expired", "refunded"],
    "held",
    [
        {"trigger": "extend", "source": "held", "dest": "held"},
        {"trigger": "capture", "source": "held", "dest": "captured"},
        {"trigger": "release", "source": "held", "dest": "released"},
        {"trigger": "expire", "source": "held", "dest": "expired"},
        {"trigger": "refund", "source": "captured", "dest": "refunded", "conditions": "refunded"},
        {"trigger": "refund", "source": "captured", "dest": "captured", "unless": "refunded"},
    ],
)
ACTIVE_RETRY_SECONDS = 10
"""What is said in `Retry-After` when all of an account's active tasks are taken."""
GRANTS_MAX = 10_000
"""Most grants with credits left in one ledger."""
SLICES_MAX = 1_000
"""Most slices of one hold, and of any one event."""
HOLDS_MAX = 100_000
"""Most open holds of one ledger, whatever its plan says."""
HELD_SLICES_MAX = 200_000
"""Most slices of all of them together."""
REFUND_DAYS_MAX = 400
"""How long after its capture credits may be refunded."""
REFUNDS_MAX = 20_000
"""Most captures with refunds in one ledger; closing its books lets go of those too old for more."""
VOIDED_MAX = 20_000
"""Most grants of one ledger that operators take back or let others follow, ever."""
