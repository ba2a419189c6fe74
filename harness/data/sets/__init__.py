"""Data sets, one file each, found by name: `--data NAME` or `--data NAME:ARGUMENT`.

A data set module offers

    revision: int                      raised whenever the built arrays would change
    about: str                         one line
    attribution: str                   licence and source, shown with its images ("" if unknown)
    recipe(data) -> dict               what decides its content (hashed); raises `Mistake` for wrong settings; also
                                       works without the data, so that plans can be made on another machine;
                                       "images", if there, is the number of images by split
    require(data) -> None              raises `Mistake` if the data is not on this machine
    build(data, folder, quiet, check_stop) -> dict
                                       writes the arrays below into `folder`; returns {"classes": [...], ...} to record;
                                       calls `check_stop` between images, which raises to stop the stage
    chosen(data, check_stop) -> Chosen optional: the images in files that `build` opens
                                       (`harness.data.class_folders`), so that a plan can open some of them
    fresh(data, count) -> uint8 array  optional: further images (count, side, side, 3) of the law of `train`,
                                       if `val` follows another law

Its splits are arrays in the run folder of the stage `data`:

    {split}_images.npy   uint8 (n, image_size, image_size, 3)
    {split}_labels.npy   int64 (n,), the index into classes
    {split}_masks.npy    bool (n, image_size, image_size), True on the object; optional

for the splits `train`, `val` and, optionally, `val_unseen`. A data set with `indexed = True` leaves its images where
they are and writes an index in place of {split}_images.npy: see `harness.data.indexed`. Its FOLDER, if it has one, is
where they lie if ARGUMENT does not say so. With `fixed = True` name and argument alone decide the content of a data
set, and protocols need not tell it. With `own = True` its images are a user's own, and no page has published numbers
beside theirs.
"""
