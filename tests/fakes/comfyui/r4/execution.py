"""Generation R4, 2023-06-29 to 2024-08-15, in its last form: sync and recursive, failures are returned."""

import copy
import logging
import sys
import traceback

import comfy.model_management
import failures
import messages
import nodes
import recursion
import torch
from prompt_queue import PromptQueue  # noqa: F401
from recursion import get_input_data, get_output_data


def recursive_execute(
    server, prompt, outputs, current_item, extra_data, executed, prompt_id, outputs_ui, object_storage
):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return (True, None, None)

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            result = recursive_execute(
                server,
                prompt,
                outputs,
                inputs[x][0],
                extra_data,
                executed,
                prompt_id,
                outputs_ui,
                object_storage,
            )
            if result[0] is not True:
                return result

    input_data_all = None
    try:
        input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
        messages.executing(server, unique_id, prompt_id=prompt_id)
        obj = object_storage.get((unique_id, class_type))
        if obj is None:
            obj = object_storage[(unique_id, class_type)] = class_def()
        output_data, output_ui = get_output_data(obj, input_data_all)
        outputs[unique_id] = output_data
        if output_ui:
            outputs_ui[unique_id] = output_ui
            messages.executed(server, unique_id, output_ui, prompt_id=prompt_id)
    except comfy.model_management.InterruptProcessingException as iex:
        logging.info("Processing interrupted")
        return (False, {"node_id": unique_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        logging.error("!!! Exception during processing!!! %s", ex)
        logging.error(traceback.format_exc())
        error_details = failures.details(unique_id, str(ex), typ, tb, input_data_all)
        error_details["current_outputs"] = sorted(outputs)
        failures.make_room(ex)
        return (False, error_details, ex)

    executed.add(unique_id)
    return (True, None, None)


def recursive_will_execute(prompt, outputs, current_item, memo={}):
    if current_item not in memo:
        memo[current_item] = recursion.recursive_will_execute(prompt, outputs, current_item)
    return memo[current_item]


class PromptExecutor(messages.StatusMessages):
    def __init__(self, server):
        self.server = server
        self.reset()

    def reset(self):
        self.outputs = {}
        self.object_storage = {}
        self.outputs_ui = {}
        self.status_messages = []
        self.success = True
        self.old_prompt = {}

    def handle_execution_error(self, prompt_id, prompt, current_outputs, executed, error, ex):
        super().handle_execution_error(prompt_id, prompt, current_outputs, executed, error, ex)
        recursion.forget_unfinished(self.outputs, self.old_prompt, current_outputs | executed)

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        self.start(prompt_id, extra_data)

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            for gone in [o for o in self.object_storage if o[0] not in prompt]:
                del self.object_storage[gone]
            current_outputs = set(self.outputs)
            recursion.keep_only(self.outputs_ui, current_outputs)
            self.add_cached(prompt_id, list(current_outputs))
            executed = set()
            to_execute = list(execute_outputs)
            while to_execute:
                memo = {}
                to_execute.sort(key=lambda o: (recursive_will_execute(prompt, self.outputs, o, memo), o))
                output_node_id = to_execute.pop(0)
                self.success, error, ex = recursive_execute(
                    self.server,
                    prompt,
                    self.outputs,
                    output_node_id,
                    extra_data,
                    executed,
                    prompt_id,
                    self.outputs_ui,
                    self.object_storage,
                )
                if self.success is not True:
                    self.handle_execution_error(prompt_id, prompt, current_outputs, executed, error, ex)
                    break
            else:
                self.add_message("execution_success", {"prompt_id": prompt_id}, broadcast=False)
            for x in executed:
                self.old_prompt[x] = copy.deepcopy(prompt[x])
            self.server.last_node_id = None
