"""Configs, catalogues, run folders and the command line: the only room where strings become objects."""
