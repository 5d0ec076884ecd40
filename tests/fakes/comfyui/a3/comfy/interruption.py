"""Since 2026-04-22 not an Exception any more: nodes that catch Exception let it pass."""


class InterruptProcessingException(BaseException):
    __module__ = "comfy.model_management"
