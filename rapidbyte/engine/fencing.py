"""A failure at the destination that is another run's doing: it has taken the lease over, and cleared up."""

from __future__ import annotations

from rapidbyte.engine.jobs import Work
from rapidbyte.errors import DestinationError, FenceError, PrivilegeError, RapidbyteError


def or_fenced(work: Work, error: RapidbyteError) -> RapidbyteError:
    """The error, or the loss of the lease where that explains it; then the whole run is to stop.

    A run that was frozen and thaws finds its stage dropped, its sessions ended or its workers' grants revoked before
    its heartbeat learns why (D3). Where the server cannot be asked, the error stays what it is.
    """
    if not isinstance(error, (DestinationError, PrivilegeError)) or error.context.commit_state != "before_commit":
        return error
    if not isinstance(work.stopping.cause, FenceError):
        try:
            work.runtime.leader.require_lease()
        except FenceError as lost:
            work.stopping.stop_for(lost)
        except RapidbyteError:
            return error
    return work.stopping.cause or error
