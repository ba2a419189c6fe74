"""Executors: where tasks run, one file each. They know tasks and their dependencies, nothing of tokenizers. Each offers

    about: str                               one line
    execute(demand, store, options)          runs what is unfinished of a `Demand`, inputs first; a task whose input
                                             failed is left, the others go on. Raises KeyboardInterrupt where a signal
                                             asked to stop, after whatever is needed to go on was saved.
    at_once(options) -> int | None           how many tasks run at a time; None: as many as there are

and those that submit jobs also

    require(waiting, options)                optional: raises Mistake where it could not run those tasks
    queue(jobs) -> dict                      the state of each job, by id, that waits or runs
    cancel(jobs)                             ends jobs; what they were doing stays fit to go on
"""
