"""The detector's training: photos with boxes in, a detector that knows new labels out.

The network stays as it is shipped. What is trained is one row of numbers for each new label: the last layer of the heat
map, on the features that the quantized network itself computes (ADR 0015). So the old labels' outputs stay bit for bit
the same, nothing has to be quantized again, and a device pays for the new rows only::

    command     handlens-convert train detector, handlens-convert models publish
    run         the steps in order; publish     a trained detector goes to the server's models
    folder      model.json, taxonomy, card: what stands beside the network;  card   its text
    judging     the new detector beside the old one: figures, and whether it may be used
    learning    features -> rows (the only place that uses torch)
    cells       one photo -> views -> features of the cells to learn from;  cache   kept on disk
    views       a photo -> cuts of it with their boxes;   targets   boxes -> what the heat map should be
    head        the file of the network: read its last layer, add rows to it
    coco        COCO JSON -> photos with boxes
    records     what these rooms hand to each other

Imports go down that list.
"""
