"""The composition root: the one place where settings become a running set of parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from adapters.addresses import AddressGuard
from adapters.api_keys import ApiKeys
from adapters.backlogs import Backlogs
from adapters.books import Books
from adapters.clock import DatabaseClock
from adapters.committer import Committer, CommitterLimits
from adapters.documents import Documents
from adapters.download import Downloads
from adapters.embedded import EmbeddedPostgres
from adapters.ledger_log import LedgerLog
from adapters.log import EventLog
from adapters.mapper import EventMapper
from adapters.migrate import migrate
from adapters.object_storage import ObjectStorage
from adapters.past_ledgers import PastLedgers
from adapters.pool import Pool, open_pool
from adapters.projector import Projector, ProjectorLimits
from adapters.queries import Queries
from adapters.queue import Leases
from adapters.queue_depth import QueueCounter
from adapters.read_tables import BEHIND
from adapters.reusable_results import ReusableResults
from adapters.signed_delivery import SignedDelivery
from adapters.signing_secret import SigningSecrets
from adapters.stored_bytes import StoredBytes
from adapters.uploads import Uploads
from adapters.wakeup import QUEUED, Wakeup
from domain.plan import Plans
from domain.task import Task
from service.alert_webhook import AlertWebhook
from service.alerts import Alerts, load_alert_hooks
from service.attempts import Attempts
from service.bulk_retries import BulkRetries
from service.command_bus import CommandBus
from service.gates import Gates
from service.group_kinds import GroupKinds
from service.groups import Groups
from service.handlers import KINDS, SHIPPED
from service.handlers.cleanup_temp import cleanup_temp
from service.handlers.update_quota import update_quota
from service.holds import Holds
from service.hooks import Hook, Hooks, load_hooks
from service.ledgers import Ledgers
from service.price_files import load_plans, load_prices
from service.pricing import Pricing, note_strangers
from service.publications import Publications, PublishedPrices
from service.push import Push
from service.quota import BoundedObjects, Quota
from service.quotes import Quotes
from service.schedules import ScheduleLimits, Schedules
from service.settings import Settings
from service.task_types import TaskTypes, discover
from service.upkeep import DAY_SECONDS, HOUR_SECONDS, Upkeep, UpkeepLimits
from service.worker import Worker, WorkerLimits
from tallystick.handler import Handler


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one process, connected and ready; made by `open_service`."""

    settings: Settings
    dsn: str
    clock: DatabaseClock
    mapper: EventMapper
    pool: Pool
    committer: Committer
    bus: CommandBus
    attempts: Attempts
    schedules: Schedules
    ledgers: Ledgers
    holds: Holds
    bulk_retries: BulkRetries
    gates: Gates
    quotes: Quotes
    types: TaskTypes
    groups: Groups
    queries: Queries
    books: Books
    past_ledgers: PastLedgers
    queue: QueueCounter
    backlogs: Backlogs
    alerts: Alerts
    documents: Documents
    plans: Plans
    pricing: Pricing
    log: EventLog
    wakeup: Wakeup
    leases: Leases
    keys: ApiKeys
    storage: ObjectStorage
    quota: Quota
    upkeep: Upkeep
    fetch: Downloads
    signing_secrets: SigningSecrets
    deliver: SignedDelivery
    hooks: tuple[Hook, ...]

    def worker(
        self,
        name: str | None = None,
        *,
        hooks: Iterable[Hook] = (),
        grace_seconds: float | None = None,
    ) -> Worker:
        """A worker of this process, not yet running; `hooks` come on top of the configured ones."""
        settings = self.settings
        limits = WorkerLimits(
            tasks_max=settings.worker_concurrency,
            claim_tasks_max=settings.claim_batch_max,
            heartbeat_seconds=settings.heartbeat_seconds,
            poll_seconds=settings.poll_seconds,
            grace_seconds=settings.drain_seconds_max if grace_seconds is None else grace_seconds,
        )
        return Worker(
            self.attempts,
            self.leases,
            self.types,
            self.wakeup.watch(only=QUEUED),
            fetch=self.fetch,
            objects=self._objects_of,
            limits=limits,
            name=name,
            hooks=Hooks([*self.hooks, *hooks]),
            push=Push(self.deliver, self.signing_secrets, self.leases, self.clock),
        )

    def _objects_of(self, task: Task) -> BoundedObjects:
        """Where an attempt stores, as far as its account's plan lets it."""
        objects = self.storage.of_task(task.account_id, task.id, task.token)
        return BoundedObjects(objects, self.quota, task.account_id)

    def projectors(self) -> list[Projector]:
        """One runner for each read model that is built behind the log, not yet running."""
        limits = ProjectorLimits(
            batch_events_max=self.settings.projection_batch_events,
            poll_seconds=self.settings.poll_seconds,
        )
        return [Projector(self.dsn, table, self.mapper, self.wakeup, limits) for table in BEHIND]


@asynccontextmanager
async def open_service(
    settings: Settings, *, handlers: Iterable[Handler] = ()
) -> AsyncIterator[Service]:
    """Start the embedded database if none is given, migrate, connect; at the end all is closed.

    `handlers` come on top of the shipped, installed and configured ones. Raises `Unavailable`.
    """
    async with AsyncExitStack() as stack:
        dsn = (
            settings.database_url
            or stack.enter_context(EmbeddedPostgres(settings.postgres_folder)).dsn()
        )
        migrate(dsn)
        clock, mapper = DatabaseClock(), EventMapper()
        plans, prices = load_plans(settings.plans_file), load_prices(settings.prices_file)
        committer = Committer(dsn, mapper, clock, _commit_limits(settings), plans)
        await committer.start()
        stack.push_async_callback(committer.close)
        pool = await stack.enter_async_context(open_pool(dsn, settings.pool_connections_max))
        queue = QueueCounter(pool)
        stack.push_async_callback(queue.close)
        backlogs = Backlogs(
            pool, tasks_max=settings.backlog_tasks_max, seconds=settings.backlog_seconds
        )
        wakeup = Wakeup(dsn)
        await wakeup.start()
        stack.push_async_callback(wakeup.close)
        guard = AddressGuard(allow_loopback=settings.allow_loopback_urls)
        deliver = SignedDelivery(guard)
        storage = ObjectStorage(settings.objects_url)
        uploads = Uploads(settings.data_folder / "uploads")
        stored = StoredBytes(pool)
        quota = Quota(stored, storage, uploads, plans, pool)
        upkeep = Upkeep(pool, storage, uploads, clock.now, limits=_upkeep_limits(settings))
        own = (update_quota(quota), cleanup_temp(upkeep))
        types = TaskTypes([*SHIPPED, *own, *discover(settings.handlers), *handlers])
        documents = Documents(pool)
        pricing = Pricing(types, prices, PublishedPrices(documents))
        note_strangers(prices, types)
        bus = CommandBus(
            committer, types, ReusableResults(pool), plans=plans, pricing=pricing, stored=stored
        )
        publications = Publications(bus)
        await publications.publish_prices(prices)
        await publications.publish_plans(plans)
        queries = Queries(pool)
        ledgers, gates = Ledgers(bus, queries), Gates(bus, types, pool)
        log = EventLog(pool, mapper, wakeup, poll_seconds=settings.poll_seconds)
        yield Service(
            settings=settings,
            dsn=dsn,
            clock=clock,
            mapper=mapper,
            pool=pool,
            committer=committer,
            bus=bus,
            attempts=Attempts(bus, types),
            bulk_retries=BulkRetries(bus, pool),
            schedules=Schedules(bus, types, _schedule_limits(settings)),
            ledgers=ledgers,
            holds=Holds(bus, ledgers, LedgerLog(mapper)),
            gates=gates,
            quotes=Quotes(bus, types, gates),
            types=types,
            groups=Groups(
                bus,
                types,
                GroupKinds(KINDS),
                members_max=settings.group_members_max,
                parallel_tasks=settings.group_parallel_tasks,
            ),
            queries=queries,
            books=Books(pool, mapper),
            past_ledgers=PastLedgers(pool, mapper, log),
            queue=queue,
            backlogs=backlogs,
            alerts=Alerts(
                queue,
                backlogs,
                load_alert_hooks(settings.alert_hooks),
                _alert_webhook(settings, deliver, clock),
            ),
            documents=documents,
            plans=plans,
            pricing=pricing,
            log=log,
            wakeup=wakeup,
            leases=Leases(pool, settings.lease_seconds),
            keys=ApiKeys(pool, cache_seconds=settings.key_cache_seconds),
            storage=storage,
            quota=quota,
            upkeep=upkeep,
            fetch=Downloads(
                guard,
                uploads=uploads,
                size_bytes_max=settings.download_bytes_max,
            ),
            signing_secrets=SigningSecrets(pool),
            deliver=deliver,
            hooks=tuple(load_hooks(settings.hooks)),
        )


def _schedule_limits(settings: Settings) -> ScheduleLimits:
    return ScheduleLimits(
        schedules_max=settings.schedules_max, skips_max=settings.schedule_skips_max
    )


def _upkeep_limits(settings: Settings) -> UpkeepLimits:
    return UpkeepLimits(
        leftover_seconds=settings.leftover_hours * HOUR_SECONDS,
        upload_seconds=settings.unused_upload_days * DAY_SECONDS,
        removals_max=settings.cleanup_removals_max,
    )


def _alert_webhook(
    settings: Settings, deliver: SignedDelivery, clock: DatabaseClock
) -> AlertWebhook | None:
    if settings.alert_webhook_url is None:
        return None
    return AlertWebhook(deliver, settings.alert_webhook_url, settings.alert_secret, clock.now)


def _commit_limits(settings: Settings) -> CommitterLimits:
    return CommitterLimits(
        batch_commands_max=settings.commit_commands_max,
        batch_bytes_max=settings.commit_bytes_max,
        queue_commands_max=settings.commit_queue_max,
        drain_seconds_max=settings.drain_seconds_max,
        lease_seconds=settings.lease_seconds,
    )
