"""Nodes that any ComfyUI since 2023 can load, for what its own nodes do not offer: to make an image from a
colour (its EmptyImage came in 2024), fail, wait for an interrupt, and do next to nothing many times."""

import pathlib
import time

import comfy.model_management
import torch


class RigImage:
    """An image of one colour."""

    CATEGORY = "comfydd"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 64, "min": 0, "max": 0xFFFFFF})
        return {"required": {"width": number, "height": number, "batch_size": number, "color": number}}

    def make(self, width, height, batch_size, color):
        channels = [(color >> shift & 0xFF) / 255 for shift in (16, 8, 0)]
        return (torch.tensor(channels).expand(batch_size, height, width, 3).clone(),)


class RigFail:
    """Raises a ValueError with the given message."""

    CATEGORY = "comfydd"
    FUNCTION = "fail"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "message": ("STRING", {"default": ""})}}

    def fail(self, image, message):
        raise ValueError(message)


class RigWait:
    """Writes the file `started`, then waits to be interrupted; gives up after a minute."""

    CATEGORY = "comfydd"
    FUNCTION = "wait"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "started": ("STRING", {"default": ""})}}

    def wait(self, image, started):
        pathlib.Path(started).touch()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(0.005)
        raise TimeoutError("nobody interrupted")


class RigNumber:
    """A number, unchanged."""

    CATEGORY = "comfydd"
    FUNCTION = "same"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"default": 0, "min": 0, "max": 2**31 - 1})}}

    def same(self, number):
        return (number,)


class RigEnd:
    """An output node that takes a number."""

    CATEGORY = "comfydd"
    FUNCTION = "end"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"default": 0})}}

    def end(self, number):
        return {}


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (RigImage, RigFail, RigWait, RigNumber, RigEnd)}
