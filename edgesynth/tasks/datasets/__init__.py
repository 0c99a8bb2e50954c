"""The data sets that are known by name.

Real ones are read from files, one module each: clothing, digits, objects, climate zones, crowns of trees.
Those that a program makes are in ``synthetic``. Each becomes a task of one of the three kinds, whose
description says whether it is real, composed or generated.
"""
