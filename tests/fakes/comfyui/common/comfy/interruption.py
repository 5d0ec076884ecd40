"""The exception of an interrupted prompt. Generations with another one bring a file of this name."""


class InterruptProcessingException(Exception):
    __module__ = "comfy.model_management"  # where upstream defines it
