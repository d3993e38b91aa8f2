"""The workshop's pipeline: an export of events and a list of photos -> a data set for training. Spark carries it.

What is decided about one photo, one user or one word stands in `handlens_conversion.boxes`, without Spark. Here is what
moves rows to those functions and the answers into a folder::

    command        handlens-convert boxes
    run            one run, from options to a published folder
    job            the steps in order: the shuffle, the records, the totals
    people         what is about a user on all photos
    exports        files of events -> rows
    carrying       batches of Arrow rows -> the functions of boxes -> batches
    photo_work     one photo: clean, look at the picture, find objects, label
    image_votes    what a detector and similar items say of an object
    dataset        the files: coco_json, tables;    datasheet, boxes_report, sample_sheets are for people
    groups         near-duplicates together; train, val or test by hash
    look, opening  a picture's bytes -> size, content hash, perceptual hash
    photo_rows     one row of the list of photos;   tally: why rows were left out, counts that add up
    session        starts Spark, checks Java;       progress: how far it is
    whole_folder   a folder appears whole or not at all

Only `session`, `exports`, `people` and `job` import pyspark, and `image_votes` to find a file that travelled with the
job; all of them inside functions.
"""
