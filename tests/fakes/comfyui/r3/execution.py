"""Generation R3, 2023-05-25 to 2023-06-29: failures are returned, and nothing on the executor tells how it
went."""

import copy
import sys
import traceback

import comfy.model_management
import failures
import messages
import nodes
import recursion
import torch
from prompt_queue import PromptQueue  # noqa: F401
from recursion import get_input_data, get_output_data, recursive_will_execute


def recursive_execute(server, prompt, outputs, current_item, extra_data, executed, prompt_id, outputs_ui):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return (True, None, None)

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            result = recursive_execute(
                server, prompt, outputs, inputs[x][0], extra_data, executed, prompt_id, outputs_ui
            )
            if result[0] is not True:
                return result

    input_data_all = None
    try:
        input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
        messages.executing(server, unique_id, prompt_id=prompt_id)
        obj = class_def()
        output_data, output_ui = get_output_data(obj, input_data_all)
        outputs[unique_id] = output_data
        if output_ui:
            outputs_ui[unique_id] = output_ui
            messages.executed(server, unique_id, output_ui, prompt_id=prompt_id)
    except comfy.model_management.InterruptProcessingException as iex:
        print("Processing interrupted", flush=True)
        return (False, {"node_id": unique_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        print("!!! Exception during processing !!!")
        print(traceback.format_exc(), flush=True)
        error_details = failures.details(unique_id, str(ex), typ, tb, input_data_all)
        error_details["current_outputs"] = sorted(outputs)
        return (False, error_details, ex)

    executed.add(unique_id)
    return (True, None, None)


class PromptExecutor:
    def __init__(self, server):
        self.outputs = {}
        self.outputs_ui = {}
        self.old_prompt = {}
        self.server = server

    def _send(self, event, data):
        if self.server.client_id is not None:
            self.server.send_sync(event, data, self.server.client_id)

    def handle_execution_error(self, prompt_id, prompt, current_outputs, executed, error, ex):
        node_id = error["node_id"]
        message = messages.about_node(prompt_id, node_id, prompt[node_id]["class_type"], executed)
        if isinstance(ex, comfy.model_management.InterruptProcessingException):
            self.server.send_sync("execution_interrupted", message, self.server.client_id)
        else:
            self._send("execution_error", dict(message, **error))
        recursion.forget_unfinished(self.outputs, self.old_prompt, current_outputs | executed)

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self._send("execution_start", {"prompt_id": prompt_id})

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            current_outputs = set(self.outputs)
            recursion.keep_only(self.outputs_ui, current_outputs)
            self._send("execution_cached", {"nodes": list(current_outputs), "prompt_id": prompt_id})
            executed = set()
            to_execute = list(execute_outputs)
            while to_execute:
                to_execute.sort(key=lambda x: (recursive_will_execute(prompt, self.outputs, x), x))
                output_node_id = to_execute.pop(0)
                success, error, ex = recursive_execute(
                    self.server,
                    prompt,
                    self.outputs,
                    output_node_id,
                    extra_data,
                    executed,
                    prompt_id,
                    self.outputs_ui,
                )
                if success is not True:
                    self.handle_execution_error(prompt_id, prompt, current_outputs, executed, error, ex)
                    break
            for x in executed:
                self.old_prompt[x] = copy.deepcopy(prompt[x])
            self.server.last_node_id = None
