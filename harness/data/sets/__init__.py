"""Data sets, one file each, found by name: `--data NAME` or `--data NAME:ARGUMENT`.

A data set module offers

    revision: int                      raised whenever the arrays that it builds would change
    about: str                         one line
    attribution: str                   licence and source, shown wherever its images are shown ("" where unknown)
    recipe(data) -> dict               what decides its content (hashed); raises `Mistake` for what makes no sense, and
                                       works where the data is absent, so that plans can be made elsewhere
    require(data) -> None              raises `Mistake` where the data is not on this machine
    build(data, folder, quiet, check_stop) -> dict
                                       writes the arrays below into `folder`; returns {"classes": [...], ...} to record;
                                       calls `check_stop` between images, which raises when it should stop

and its splits are arrays in the run folder of the stage `data`:

    {split}_images.npy   uint8 (n, image_size, image_size, 3)
    {split}_labels.npy   int64 (n,), the index into classes
    {split}_masks.npy    bool (n, image_size, image_size), True on the object, where the data set knows it

for the splits `train`, `val` and, where there is one, `val_unseen`. A data set with `indexed = True` leaves its images
where they are and writes an index of them in place of {split}_images.npy, as `harness.data.indexed` says.
"""
