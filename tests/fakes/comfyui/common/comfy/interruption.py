"""The exception of an interrupted prompt. Generations in which it is not this class bring their own copy of this file."""


class InterruptProcessingException(Exception):
    __module__ = "comfy.model_management"  # where upstream defines it
