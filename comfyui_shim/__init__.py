"""comfydd's optional Python half: a ComfyUI custom node package that adds nothing to the UI.

With it, comfydd needs no LD_PRELOAD, and works together with ddtrace where that is installed: spans that
ddtrace makes inside a node become children of the node's span, and runtime metrics and the profiler run for
the process.

Two ways to make it active, with and without LD_PRELOAD=libcomfydd.so:

- link or copy this folder into ComfyUI's custom_nodes/: ComfyUI runs prestartup_script.py early;
- where no custom nodes are loaded: put the folder that contains this one on PYTHONPATH, and import
  comfyui_shim before ComfyUI's own modules.

Limit: ddtrace does not carry its context into a plain threading.Thread, so spans made there start traces of
their own (pools, asyncio tasks and asyncio.to_thread are followed)."""

from . import prestartup_script  # noqa: F401  starts everything, unless ComfyUI has already run it

NODE_CLASS_MAPPINGS = {}
NODE_DISPLAY_NAME_MAPPINGS = {}
