-- journal.v1, written by its projector: what was posted to each account of the books by day (UTC) and task type, and each
-- customer's balances, on the accounts' own sides. Sums over all customers may outgrow a bigint.
CREATE TABLE journal_totals (
    day timestamptz NOT NULL,
    account text NOT NULL,
    task_type text NOT NULL,
    debits numeric(38) NOT NULL,
    credits numeric(38) NOT NULL,
    PRIMARY KEY (day, account, task_type)
) WITH (fillfactor = 50);

CREATE TABLE journal_customers (
    id uuid PRIMARY KEY,
    position bigint NOT NULL,
    granted_paid bigint NOT NULL,
    granted_promotional bigint NOT NULL,
    granted_trial bigint NOT NULL,
    granted_adjustment bigint NOT NULL,
    overdraft bigint NOT NULL,
    refunded bigint NOT NULL,
    pending bigint NOT NULL,
    available bigint NOT NULL,
    held bigint NOT NULL,
    revenue bigint NOT NULL,
    expired bigint NOT NULL,
    voided bigint NOT NULL
) WITH (fillfactor = 70);
