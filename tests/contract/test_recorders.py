"""The library's own test cases hold for our recorders and factory."""

from __future__ import annotations

from unittest import TestCase

import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.utils import Environment, get_topic

from adapters.recorder import (
    LogFactory,
    LogProcessRecorder,
    LogRecorder,
    StreamRecorder,
    environment,
)


class _OnDatabase(TestCase):
    """Gives each test a factory over a fresh database."""

    application = ""
    create_table = "y"

    @pytest.fixture(autouse=True)
    def _factory(self, database: str) -> None:
        settings = {
            LogFactory.PERSISTENCE_MODULE: get_topic(LogFactory),
            LogFactory.CREATE_TABLE: self.create_table,
        }
        self.env = Environment(self.application, {**environment(database), **settings})
        self.factory = LogFactory(self.env)
        self.addCleanup(self.factory.close)


class TestStreamRecorder(_OnDatabase, AggregateRecorderTestCase):
    def create_recorder(self) -> StreamRecorder:
        recorder = self.factory.aggregate_recorder("snapshots")
        assert isinstance(recorder, StreamRecorder)
        return recorder


class TestLogRecorder(_OnDatabase, ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> LogRecorder:
        recorder = self.factory.application_recorder()
        assert isinstance(recorder, LogRecorder)
        return recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestLogRecorderOnOurTables(TestLogRecorder):
    """The tables are those of our migrations."""

    application = "tallystick"
    create_table = "n"


class TestIdsDoNotInterleave(_OnDatabase, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> LogRecorder:
        recorder = self.factory.application_recorder()
        assert isinstance(recorder, LogRecorder)
        return recorder


class TestTrackingRecorder(_OnDatabase, TrackingRecorderTestCase):
    def create_recorder(self) -> PostgresTrackingRecorder:
        return self.factory.tracking_recorder()


class TestLogProcessRecorder(_OnDatabase, ProcessRecorderTestCase):
    def create_recorder(self) -> LogProcessRecorder:
        recorder = self.factory.process_recorder()
        assert isinstance(recorder, LogProcessRecorder)
        return recorder


class TestProcessRecorderAsApplicationRecorder(TestLogRecorder):
    def create_recorder(self) -> LogProcessRecorder:
        recorder = self.factory.process_recorder()
        assert isinstance(recorder, LogProcessRecorder)
        return recorder


class _SubclassOfTracking(PostgresTrackingRecorder):
    """What a user of the library may name by argument or topic."""


class TestLogFactory(_OnDatabase, InfrastructureFactoryTestCase[LogFactory]):
    def expected_factory_class(self) -> type[LogFactory]:
        return LogFactory

    def expected_aggregate_recorder_class(self) -> type[StreamRecorder]:
        return StreamRecorder

    def expected_application_recorder_class(self) -> type[LogRecorder]:
        return LogRecorder

    def expected_tracking_recorder_class(self) -> type[PostgresTrackingRecorder]:
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self) -> type[PostgresTrackingRecorder]:
        return _SubclassOfTracking

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder
