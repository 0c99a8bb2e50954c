"""Data sets that no camera saw, and what they are made with.

``scenes`` are composed: photographs of objects (``cutouts``), cut out, on photographs of something else
(``backgrounds``). ``glyphs``, from the ``fonts`` of a machine, and ``shapes``, drawn by code alone, are
generated. ``composition`` pastes objects on grounds, and knows masks and boxes because it did.
"""
