"""From boxes that users drew to training data: what is decided about one photo, one user or one word.

The rooms of the workshop's pipeline, each pure (lists in, records out, no files, no clock, no randomness but by hash),
so that a test is a function call and a cluster only carries them::

    drawn        an exported event -> DrawnBox | Reject
    cleaning     clip, degenerate, whole photo, repeats, caps
    robots       statistics of a user that add up -> a verdict
    consensus    the boxes of one photo -> its objects, each with uncertainty and agreement
    users        how far a user's boxes can be trusted, from all photos
    labels       words of users, tags of the item, annotations of alike items -> a label, or none
    simulate     true boxes -> messy events, to measure all of this with
"""
