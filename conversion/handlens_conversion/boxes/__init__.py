"""From boxes that users drew to training data: what is decided about one photo, one user or one word.

The rooms of the workshop's pipeline, each pure (lists in, records out, no files, no clock, no randomness but by hash),
so that a test is a function call and a cluster only carries them::

    drawn, reasons     an exported event -> DrawnBox | Reject
    pixel_rows         the same from rows of label tools, in pixels
    cleaning           clip, degenerate, whole photo, repeats, caps
    robots             statistics of a user that add up -> a verdict
    modes, mode_fit    how people draw, learned from the boxes
    consensus          the boxes of one photo -> its objects (by `crowd`: arrays, `mixture`: the fit)
    places             where users drew and nobody agreed: no background
    users              how far a user's boxes can be trusted, from all photos
    words, labels      words of users, tags of the item, annotations of alike items -> a label, or none

Beside them what all this is measured with: `truth` (true boxes), `noise` and `simulate` (messy events drawn from them),
`simulation_files` and `console` (``handlens-convert simulate``).
"""
