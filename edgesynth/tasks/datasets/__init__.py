"""The data sets that are known by name, one module each, and what some of them are made with.

Real ones are read from files: clothing, digits, objects, climate zones, crowns of trees. Scenes are composed
of cut-out photographs on backgrounds, glyphs are drawn from fonts, shapes by code alone. Each becomes a task
of one of the three kinds, whose description says whether it is real, composed or generated.
"""
