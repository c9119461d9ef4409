"""The floor under every answer: explicit first-person statements about ending one's life, found without any model.

It may import ``handlers.core`` alone. ``phrases/`` holds the statements as data, one file a language;
``phrase_file`` reads and checks them, ``alternatives`` expands them, ``normalize`` brings texts and phrases into one
form, ``index`` finds the ones in the others (``words``: short ones, at words alone), and ``matcher`` the statements
among them, which no guard turns (``gaps``: across what). What it finds are kinds and character spans, never words.
"""
