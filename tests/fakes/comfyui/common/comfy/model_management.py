"""The few names of ComfyUI's comfy.model_management that executors and nodes use."""

import threading

import torch

from comfy.interruption import InterruptProcessingException

OOM_EXCEPTION = torch.cuda.OutOfMemoryError

_interrupted = threading.Event()


def interrupt_current_processing(value=True):
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def wait_for_interrupt(timeout):
    """True once the prompt has been interrupted, without clearing the flag."""
    return _interrupted.wait(timeout)


def throw_exception_if_processing_interrupted():
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException()


def unload_all_models():
    pass
