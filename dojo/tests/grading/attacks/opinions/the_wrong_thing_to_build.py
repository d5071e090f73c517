"""A class that takes everything and gives nothing.

kata: lora_linear
reason: fail
"""


class LoRALinear:
    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        return self

    def __call__(self, *_, **__):
        return self
