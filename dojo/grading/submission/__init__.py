"""Reads a submission's files and checks them before anything of them runs. Imports `core` alone."""
