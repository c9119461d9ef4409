"""How well the floor (``handlers.floor``) tells explicit statements from what only looks like them.

``development/`` and ``test/`` hold sentences by language and family, written by different hands; phrases are written
against the first, and figures come from the second. May import ``handlers`` and the statistics of ``evaluation``.
"""
