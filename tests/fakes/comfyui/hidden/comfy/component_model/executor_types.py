"""What hiddenswitch's executor returns: still a tuple, but a named one."""

from typing import NamedTuple, Optional

from comfy_execution.results import ExecutionResult


class RecursiveExecutionTuple(NamedTuple):
    valid: ExecutionResult
    error_details: Optional[dict]
    exc_info: Optional[BaseException]
