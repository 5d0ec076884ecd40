"""The client's prompt plus the nodes that appeared while it ran."""


class NodeNotFoundError(Exception):
    pass


class DynamicPrompt:
    def __init__(self, original_prompt):
        self.original_prompt = original_prompt
        self.ephemeral_prompt = {}
        self.ephemeral_parents = {}
        self.ephemeral_display = {}

    def get_node(self, node_id):
        for prompt in (self.ephemeral_prompt, self.original_prompt):
            if node_id in prompt:
                return prompt[node_id]
        raise NodeNotFoundError("Node %s not found" % node_id)

    def has_node(self, node_id):
        return node_id in self.original_prompt or node_id in self.ephemeral_prompt

    def add_ephemeral_node(self, node_id, node_info, parent_id, display_id):
        self.ephemeral_prompt[node_id] = node_info
        self.ephemeral_parents[node_id] = parent_id
        self.ephemeral_display[node_id] = display_id

    def get_parent_node_id(self, node_id):
        return self.ephemeral_parents.get(node_id)

    def get_real_node_id(self, node_id):
        return _follow(self.ephemeral_parents, node_id)

    def get_display_node_id(self, node_id):
        return _follow(self.ephemeral_display, node_id)

    def all_node_ids(self):
        return set(self.original_prompt) | set(self.ephemeral_prompt)

    def get_original_prompt(self):
        return self.original_prompt


def _follow(links, node_id):
    while node_id in links:
        node_id = links[node_id]
    return node_id
