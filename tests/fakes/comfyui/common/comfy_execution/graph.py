"""comfy_execution.graph as the async generations have it."""

from comfy_execution.dynprompt import DynamicPrompt  # noqa: F401
from comfy_execution.execution_list import ExecutionList  # noqa: F401
from comfy_execution.graph_utils import ExecutionBlocker, is_link  # noqa: F401
from comfy_execution.scheduling import DependencyCycleError  # noqa: F401
