"""The workshop's pipeline: an export of events and a list of photos -> a data set for training. Spark carries it.

What is decided about one photo, one user or one word stands in `handlens_conversion.boxes`, without Spark. Here is what
moves rows to those functions and the answers into a folder::

    command        handlens-convert boxes
    job            the steps in order; the only place that knows all of them
    session        starts Spark; checks Java
    exports        files of events -> rows;     photo_list   the photos' list -> rows
    carrying       batches of Arrow rows -> the functions of boxes -> batches
    photo_work     one photo: clean, look at the picture, find objects, label
    tally          why rows were left out: counts and samples that add up
    look           a picture's bytes -> size, content hash, perceptual hash
    groups         near-duplicates together; train, val or test by hash
    whole_folder   a folder appears whole or not at all
    dataset        COCO JSON and Parquet;       datasheet, boxes_report, sample_sheets   for people

Imports go down that list. Only `session`, `exports`, `photo_list` and `job` import pyspark, inside functions.
"""
