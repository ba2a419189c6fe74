"""Stages, one file each, found by name: the units of work and of caching. A stage module offers

    revision: int                      raised whenever its results would change
    about: str                         one line
    inputs(experiment) -> tuple        the names of the stages that it reads
    size(experiment) -> Size           its work and its disk space
    config(experiment)                 the fields that it depends on directly (hashed, with the keys of its inputs)
    run(work) -> Outcome               the work; it may be stopped at any moment and called again
    parallel: bool                     optional: whether several processes can share the work
    batches(experiment) -> tuple       trainings only: how many images are in a batch, and in every part of it that a
                                       term of the loss uses; the processes have to share each evenly
    experiment_of(name, experiment)    optional: the experiment of the input `name`, if it is not the stage's own
    resumes: bool                      optional: whether an attempt continues where the last one stopped

All processes run a parallel stage, from the same inputs and in step with one another. Only the first process runs any
other stage.

Planning imports these modules, so they import torch and the like inside functions.
"""
