"""Publishing as one transaction of a run that still has its lease.

A COMMIT whose acknowledgement is lost is looked up in the ledger before anybody may repeat anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import psycopg

from rapidbyte.destinations.postgres import cursors, leases, loads, locks
from rapidbyte.destinations.postgres.finalize import publish
from rapidbyte.destinations.postgres.hooks import run_after, run_before
from rapidbyte.destinations.postgres.leases import HeldRun
from rapidbyte.destinations.postgres.order import acting_parents, parents_first, references_among
from rapidbyte.destinations.postgres.rewrite import Together, delete_early
from rapidbyte.destinations.postgres.sessions import CLEANUP_SECONDS, READ_WRITE, LeaderSession, rolled_back_by_failure
from rapidbyte.destinations.postgres.statistics import StageStatistics
from rapidbyte.errors import DestinationError
from rapidbyte.failpoints import failpoint
from rapidbyte.pg.failure import is_connection_loss
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin, commit, translated
from rapidbyte.ports import FinalizeReport, Publication, never
from rapidbyte.spec import Hooks
from rapidbyte.values import field, frozen

LOOK_UP_SECONDS = 60.0
"""How long the outcome of a COMMIT is asked for when its acknowledgement was lost; a crash restart takes about 4 s."""

Reports = tuple[FinalizeReport, ...]


@frozen
class Publishing:
    """One call of `finalize`."""

    session: LeaderSession
    held: HeldRun
    publications: Sequence[Publication]
    publish_timeout_seconds: float
    statistics: StageStatistics
    hooks: Hooks = field(default_factory=Hooks)
    schema: str = "public"
    """In which hooks look first."""

    @property
    def doing(self) -> str:
        """Completes "while ..."."""
        return f"publishing {', '.join(str(each.contract.target) for each in self.publications)}"

    def carry_out(self) -> Reports:
        """The reports, once everything is published. Raises RapidbyteError with `commit_state` set."""
        connection = self.session.open()
        with translated("destination", self.doing):
            begin(connection, OWN_SQL, mode=READ_WRITE)
            with rolled_back_by_failure(connection):
                failpoint("pub.begin")
                leases.require_fence(connection, pipeline=self.held.pipeline, fence=self.held.fence)
                run_before(connection, self.hooks, self.schema)
                reports = self._publish_all(connection)
                run_after(connection, self.hooks, self.schema)
                connection.require_going()
            failpoint("pub.commit_before")
            try:
                commit(connection, sent=lambda: failpoint("pub.commit_sent"))
            except psycopg.Error as error:
                if not is_connection_loss(error) or not self._was_carried_out():
                    raise
        failpoint("pub.acked")
        return reports

    def _publish_all(self, connection: PgConnection) -> Reports:
        """Parents before children, but for deletes; the reports are in the order of the publications."""
        if len(self.publications) == 1:
            return (self._publish(connection, self.publications[0]),)
        targets = [each.contract.target for each in self.publications]
        keys = references_among(connection, targets)
        order = parents_first(targets, keys)
        together = Together(acting=acting_parents(connection, targets), waiting=set(targets))
        if keys:
            self._delete_early(connection, reversed(order), together)
        reports = {place: self._publish(connection, self.publications[place], together) for place in order}
        for step in reversed(together.later):
            step()
        connection.execute("SET LOCAL search_path TO DEFAULT")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("SET LOCAL search_path = pg_catalog")
        return tuple(reports[place] for place in range(len(targets)))

    def _delete_early(self, connection: PgConnection, order: Iterable[int], together: Together) -> None:
        """Children first: rows that are gone from their streams, as far as nobody refers to them any more.

        What has to wait for the children's new rows is deleted after these; both orders are needed, since a new row
        may have a unique value of one that is gone.
        """
        deadline = time.monotonic() + self.publish_timeout_seconds
        for contract in (self.publications[place].contract for place in order):
            if contract.target not in together.acting:
                locks.limit_waits(connection, self.publish_timeout_seconds)
                if delete_early(connection, contract, deadline):
                    together.had_rows.add(contract.target)

    def _publish(
        self, connection: PgConnection, publication: Publication, together: Together | None = None
    ) -> FinalizeReport:
        contract = publication.contract
        report = publish(
            connection,
            contract,
            publication.receipts,
            publish_timeout_seconds=self.publish_timeout_seconds,
            expected_checksum=publication.expected_checksum,
            checksum=publication.checksum,
            together=together,
            statistics=self.statistics,
        )
        if together is not None:
            together.waiting.discard(contract.target)
        cursors.advance(connection, contract, source=self.held.source)
        loads.delete_old_receipts(connection, pipeline=contract.pipeline, stream=contract.stream, keep=contract.load_id)
        return report

    def _was_carried_out(self) -> bool:
        """Whether the transaction whose COMMIT was not acknowledged was committed. All its loads tell the same."""
        contract = self.publications[0].contract
        started_s = time.monotonic()
        while True:
            try:
                with self.session.changing("looking up whether the load was published", stop=never) as connection:
                    locks.limit_waits(connection, CLEANUP_SECONDS)
                    record = loads.load_record(connection, contract.load_id, lock_row=True)
                return record is not None and record.state == "published"
            except DestinationError as error:
                patience_s = CLEANUP_SECONDS if self.session.stop() else LOOK_UP_SECONDS
                if time.monotonic() >= started_s + patience_s:
                    raise self._unknown() from error
                time.sleep(0.5)

    def _unknown(self) -> DestinationError:
        contracts = [publication.contract for publication in self.publications]
        targets = ", ".join(str(contract.target) for contract in contracts)
        return DestinationError(
            f"the connection was lost at the COMMIT that publishes {targets}, and the server cannot be asked",
            code="commit_unknown",
            hint=f"when it is back, column state of _rapidbyte.loads tells it for load {contracts[0].load_id}",
            stream=contracts[0].stream,
            table=str(contracts[0].target),
            commit_state="after_commit_unknown",
            safe_to_retry=all(contract.write_mode != "append" for contract in contracts),
            afterwards=f"{targets}: as before, or with the whole load; nothing in between.",
        )
