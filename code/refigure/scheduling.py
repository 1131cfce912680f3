"""What Snakemake's scheduler does by itself and should not."""

from __future__ import annotations

from typing import Any


def lift_limit(workflow: Any) -> None:
    """Take back Snakemake's own limit of 100 jobs a second, where nobody asked for another.

    While there is a limit, each look at the waiting jobs starts a timer for one more look a second
    later, and each job that ends starts one besides (Snakemake 9.27). With 250 jobs that is most of
    a core; on a queue it would be the file system of the login node.

    Args:
        workflow: Snakemake's, when its scheduler is there: in `onstart`.
    """
    scheduler = getattr(workflow, "scheduler", None)
    limiter = getattr(scheduler, "job_rate_limiter", None)
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        scheduler.job_rate_limiter = None
