"""The version of the trainer, which a pack may ask for."""

VERSION = "0.1.0"
