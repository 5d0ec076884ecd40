"""Where hiddenswitch's fork defines it."""


class InterruptProcessingException(Exception):
    pass
