"""The least that is recognised as ComfyUI's executor, of generation X1. Tests copy it to an execution.py."""


class PromptExecutor:
    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        executed = set()
        for node_id in prompt:
            execute(self, prompt, {}, node_id, extra_data, executed, prompt_id, [])
        return executed


def execute(server, dynprompt, caches, current_item, extra_data, executed, prompt_id, execution_list):
    """Runs a node: calls what stands for it in the prompt."""
    dynprompt[current_item]()
    executed.add(current_item)
    return (True, None, None)
