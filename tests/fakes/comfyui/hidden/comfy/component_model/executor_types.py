"""What hiddenswitch's executor returns: still a tuple, but a named one."""

from enum import Enum
from typing import NamedTuple, Optional


class ExecutionResult(Enum):
    SUCCESS = 0
    FAILURE = 1
    PENDING = 2


class RecursiveExecutionTuple(NamedTuple):
    valid: ExecutionResult
    error_details: Optional[dict]
    exc_info: Optional[BaseException]
