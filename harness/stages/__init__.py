"""Stages, one file each, found by name: the units of work and of caching. A stage module offers

    revision: int                      raised whenever its results would change
    about: str                         one line
    inputs(experiment) -> tuple        the names of the stages that it reads
    size(experiment) -> Size           how much work and disk it takes
    config(experiment)                 what of the experiment it depends on by itself (hashed, with the inputs' keys)
    run(work) -> Outcome               the work; it may be stopped at any moment and called again
    parallel: bool                     optional: whether several processes can share the work
    batches(experiment) -> tuple       of a training: the images of a batch, and of every part of it that a term of the
                                       loss looks at; processes have to be able to share each evenly
    resumes: bool                      optional: whether an attempt goes on where the one before it stopped

Of several processes all run a parallel stage, from the same inputs and in step with one another; any other stage runs
in the first alone.

Planning imports these modules, so they import torch and its like inside functions.
"""
