"""The benchmark: experiments, studies, planning, the store of runs, stages, data, metrics, executors and commands."""
