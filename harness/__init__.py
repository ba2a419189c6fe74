"""The machine: experiments, studies, planning, the store of runs, stages, data, metrics, executors, entry points."""
