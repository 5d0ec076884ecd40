"""Links, blockers and the builder with which nodes expand into subgraphs."""


def is_link(value):
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


class ExecutionBlocker:
    """A node's output that keeps the nodes behind it from running; with a message, the client is told."""

    def __init__(self, message):
        self.message = message


class GraphBuilder:
    """Builds the subgraph a node expands into. Ids are PARENT.CALL.GRAPH.N."""

    _prefix = ("", 0)
    _graphs = 0

    @classmethod
    def set_default_prefix(cls, prefix_root, call_index, graph_index=0):
        cls._prefix = (prefix_root, call_index)
        cls._graphs = graph_index

    def __init__(self):
        root, call = GraphBuilder._prefix
        self._prefix_text = "%s.%d.%d." % (root, call, GraphBuilder._graphs)
        GraphBuilder._graphs += 1
        self._nodes = {}

    def node(self, class_type, name=None, **inputs):
        node_id = self._prefix_text + (name or str(len(self._nodes) + 1))
        self._nodes[node_id] = {"class_type": class_type, "inputs": inputs}
        return node_id

    def finalize(self):
        return self._nodes
