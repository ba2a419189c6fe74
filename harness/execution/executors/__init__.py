"""Executors: where tasks run, one file each. They know tasks and dependencies, but no tokenizers. Each offers

    about: str                               one line
    execute(demand, store, options)          runs the unfinished tasks of a `Demand`, inputs first. If a task fails,
                                             its readers do not run and the others go on. After a signal to stop it
                                             saves what is needed to go on, and raises KeyboardInterrupt.
    at_once(tasks, options) -> int | None    how many tasks like these run at a time; None: no limit

and those that submit jobs also

    require(waiting, store, options)         optional: raises Mistake if it could not run those tasks
    queue(jobs) -> dict                      the state of each job that waits or runs, by job id
    cancel(jobs)                             ends jobs; their runs can go on later
"""
