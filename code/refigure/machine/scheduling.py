"""What Snakemake's scheduler does by itself and should not."""

from __future__ import annotations

from typing import Any


def lift_limit(workflow: Any) -> None:
    """Take back Snakemake's own limit of 100 jobs a second, where nobody asked for another.

    While there is a limit, each look at the waiting jobs starts a timer for one more look a second
    later, and each job that ends starts one besides (Snakemake 9.27). With 250 jobs that is most of
    a core. Somebody who asks for just 100 jobs a second cannot be told from the default.

    Args:
        workflow: Snakemake's, when its scheduler is there: in `onstart`. One of another version,
            that keeps its limit elsewhere, is left as it is.
    """
    scheduler = getattr(workflow, "scheduler", None)
    limiter = getattr(scheduler, "job_rate_limiter", None)
    limit = getattr(limiter, "max_jobs", None), getattr(limiter, "timespan", None)
    settings = getattr(workflow, "scheduling_settings", None)
    # Snakemake's default wins over this older option, but somebody meant it.
    if limit == (100, 1) and getattr(settings, "max_jobs_per_second", None) is None:
        scheduler.job_rate_limiter = None
