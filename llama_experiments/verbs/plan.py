"""plan [-m] [overrides] [--time] [--rows] [--json]: the jobs, steps, memory and time of a command, before it runs.

Nothing is started and no weight is loaded: memory is told from the model's shape, its config.json, by running the
job's own code on tensors without contents. Rows are read where they are here and small, with --rows in any case (the
tokens are kept for the run); else the greatest length stands for them, and the memory is an upper bound. --time makes
a few of each job's steps with random weights and tells the time of all. --json is for programs.

A job that cannot fit the device is refused, with exit status 2, and told what would help. A run or a sweep is
refused in the same way before it starts; training.check_memory=false lets it try.

    python -m llama_experiments plan technique=lora model=llama2_7b
    python -m llama_experiments plan -m training.batch_size=8,32 --time
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llama_experiments.errors import tell

OWN = ("--time", "--rows", "--json")
REFUSED = 2  # exit status


def run(arguments: list[str]) -> int:
    """Plan, and say so."""
    from llama_experiments.cli import check, composed, config_dirs, parse_options
    from llama_experiments.errors import ConfigError
    from llama_experiments.planning.available import available_memory
    from llama_experiments.planning.jobs import jobs_of
    from llama_experiments.planning.plan import Planned, lines, plan_job

    own = {argument for argument in arguments if argument in OWN}
    options = parse_options([argument for argument in arguments if argument not in OWN])
    composition = composed(options, [])
    check(options, composition, memory=False)
    primary = Path(options.config_path).absolute() if options.config_path else None
    jobs = jobs_of(composition, bool(options.multirun), config_dirs(options), primary)
    available = available_memory()
    planned: list[Planned] = []
    for number, job in enumerate(jobs, 1):
        if len(jobs) > 1 and "--time" in own:
            print(f"timing job {number} of {len(jobs)}", file=sys.stderr, flush=True)
        planned.append(plan_job(job, available, read_rows="--rows" in own, timed="--time" in own))
    if "--json" in own:
        told = {"available": available.size, "device": available.kind, "jobs": [job.record() for job in planned]}
        print(json.dumps(told, indent=2))
    else:
        print("\n".join(lines(planned, available)), flush=True)
    if refused := [job.refused for job in planned if job.refused is not None]:
        tell(ConfigError(refused))
        return REFUSED
    return 0
