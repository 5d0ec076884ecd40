"""ComfyUI nodes that use a known amount of GPU memory."""

import torch

MIB = 1 << 20


def tensor(size):
    return torch.empty(size * MIB, dtype=torch.uint8, device="cuda")


class Node:
    RETURN_TYPES = ("TENSOR",)
    FUNCTION = "run"
    CATEGORY = "comfydd"
    SIZE = ("INT", {"default": 1, "min": 1, "max": 1 << 20})  # MiB


class Keep(Node):
    """Its output is a tensor."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"size": cls.SIZE}}

    def run(self, size):
        return (tensor(size),)


class Use(Node):
    """Needs two tensors of that size at a time, while it runs."""

    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("TENSOR",), "size": cls.SIZE}}

    def run(self, value, size):
        one, other = tensor(size), tensor(size)
        del one, other
        return (value,)


class Exhaust(Use):
    """Takes tensors of that size until there is no more."""

    def run(self, value, size):
        tensors = []
        while True:
            tensors.append(tensor(size))


NODE_CLASS_MAPPINGS = {"ComfyddKeep": Keep, "ComfyddUse": Use, "ComfyddExhaust": Exhaust}
