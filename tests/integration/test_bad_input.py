"""Prompts that no sane client sends: the application runs them as without us, and the spans are well-
formed."""

import re

import pytest

from rig import comfyui, pythons, session
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(180)

ENDS = sorted({list(pythons.find())[0], list(pythons.find())[-1]})  # both ways of watching
RESOURCE_LIMIT = 5000  # bytes, as agents cut it

# class type, and what its span's resource must be
CLASS_TYPES = {
    "long": ("Named:" + "x" * 1_000_000, ("Named:" + "x" * RESOURCE_LIMIT)[: RESOURCE_LIMIT - 3] + "..."),
    "surrogate": ("Named:a\udcffb", "Named:a?b"),
    "surrogate-pair-halves": ("Named:\ud83d|\ude00", "Named:?|?"),
    "emoji": ("Named:\U0001f3a8", "Named:\U0001f3a8"),
    "control-characters": ("Named:a\tb\nc\x7f", "Named:a\tb\nc\x7f"),
    "quotes": ("Named:\"'\\{}%s%n", "Named:\"'\\{}%s%n"),
}
# node id, and what node.id must begin with: long ones are cut
NODE_IDS = {
    "number": ("0", "0"),
    "blank": (" ", " "),
    "long": ("i" * 100_000, "i" * 200),
    "surrogate": ("\udc80", "?"),
    "dots": ("1.0.0.1", "1.0.0.1"),
}


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def run(folder, agent, version, jobs, generation="a3", environment=None):
    """The traces of these jobs {job id: prompt}, and the application."""
    app = StandIn(pythons.find()[version], generation)
    environment = environment or {"DD_TRACE_AGENT_URL": agent.url}
    with comfyui.ComfyUI(app, folder / "app", session.LIBRARY, environment) as application:
        ids = {job: application.submit(prompt, {"job_id": job}) for job, prompt in jobs.items()}
        histories = {job: application.wait(prompt_id, 120) for job, prompt_id in ids.items()}
    assert application.exit_code == 0
    assert all(history["status"]["status_str"] == "success" for history in histories.values())
    spans = agent.take_spans()
    return {job: session.of_job(spans, job) for job in jobs}, application


@pytest.mark.parametrize("version", ENDS)
def test_odd_class_types(agent, tmp_path, version):
    jobs = {
        job: {"1": node(class_type, value=1), "2": node("Show", a=["1", 0])}
        for job, (class_type, _) in CLASS_TYPES.items()
    }
    found, _ = run(tmp_path, agent, version, jobs)
    assert {job: trace.nodes[0]["resource"] for job, trace in found.items()} == {
        job: resource for job, (_, resource) in CLASS_TYPES.items()
    }


@pytest.mark.parametrize("version", ENDS)
def test_odd_node_ids(agent, tmp_path, version):
    jobs = {
        job: {node_id: node("Fresh", value=1), "end": node("Show", a=[node_id, 0])}
        for job, (node_id, _) in NODE_IDS.items()
    }
    found, _ = run(tmp_path, agent, version, jobs)
    for job, (_, start) in NODE_IDS.items():
        (odd,) = [span for span in found[job].nodes if span["resource"] == "Fresh"]
        assert odd["meta"]["node.id"].startswith(start)
        assert len(found[job].nodes) == 2


@pytest.mark.parametrize("version", ENDS)
def test_an_empty_node_id_is_the_only_thing_missing(agent, tmp_path, version):
    found, _ = run(
        tmp_path, agent, version, {"empty": {"": node("Number", value=1), "end": node("Show", a=["", 0])}}
    )
    assert [span["meta"]["node.id"] for span in found["empty"].nodes] == ["end"]
    assert found["empty"].root["meta"]["workflow.status"] == "success"


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_ten_thousand_nodes(agent, tmp_path, generation, version):
    prompt, ends = {}, {}
    for chain in range(40):
        for step in range(250):
            inputs = {"value": [f"{chain}-{step - 1}", 0]} if step else {"value": chain}
            prompt[f"{chain}-{step}"] = node("AddOne", **inputs)
        ends[f"end{chain}"] = [f"{chain}-249", 0]
    prompt["end"] = node("Show", **ends)
    found, application = run(tmp_path, agent, version, {"many": prompt}, generation)
    trace = found["many"]
    assert trace.root["metrics"]["workflow.nodes.executed"] == len(prompt)
    arrived = [span["meta"]["node.id"] for span in trace.nodes]
    assert len(arrived) == len(set(arrived)) and set(arrived) <= set(prompt)
    # More than the flight memory holds: on a machine with much else to do the agent may be too slow for them all.
    lost = re.findall(r"comfydd: (\d+) of \d+ spans did not reach", application.log())
    assert len(prompt) - len(arrived) == sum(map(int, lost))



@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", ["r2", "a3"])
def test_of_a_stack_too_deep_the_end_is_kept(agent, tmp_path, generation, version):
    """Where it was raised: what people read, and what Datadog groups errors by."""
    app = StandIn(pythons.find()[version], generation)
    environment = {"DD_TRACE_AGENT_URL": agent.url}
    prompt = {"1": node("FailDeep", depth=300), "2": node("Show", a=["1", 0])}
    with comfyui.ComfyUI(app, tmp_path / "app", session.LIBRARY, environment) as application:
        application.wait(application.submit(prompt, {"job_id": "deep"}))
    trace = session.of_job(agent.take_spans(), "deep")
    for span in (trace.root, *trace.nodes):
        stack = span["meta"]["error.stack"]
        first, second, *_, raised, code, last = stack.splitlines()
        assert first == "Traceback (most recent call last):"
        assert re.fullmatch(r"  \[the first \d+ are left out\]", second)
        assert re.search(r"nodes\.py\", line \d+, in run$", raised)
        assert (code.strip(), last) == ('raise ValueError("at the bottom")', "ValueError: at the bottom")
        assert 20_000 < len(stack) <= 25_000


# Names and types of the library's settings; those of `comfydd run` are read by that program alone.
SETTINGS = [
    (name, kind)
    for name, kind, rest in re.findall(
        r'\.name = "(\w+)", \.type = SETTING_(\w+)(.*?)\.doc =',
        (comfyui.REPOSITORY / "src" / "settings.c").read_text(),
        re.DOTALL,
    )
    if "BY_RUN" not in rest
]


@pytest.mark.parametrize("version", ENDS)
def test_garbage_in_every_variable(agent, tmp_path, version):
    """Each variable that can be wrong is complained about in one line; free texts are sent, as UTF-8."""
    garbage = {name: b"\x01garbage;=%\xff" for name, _ in SETTINGS}
    garbage["DD_TRACE_AGENT_URL"] = agent.url
    jobs = {"garbage": {"1": node("Number", value=1), "2": node("Show", a=["1", 0])}}
    found, application = run(tmp_path, agent, version, jobs, environment=garbage)
    assert len(found["garbage"].nodes) == 2
    assert found["garbage"].root["service"].isprintable() or "\ufffd" in found["garbage"].root["service"]
    lines = [line for line in application.log().splitlines() if line.startswith("comfydd:")]
    said_besides = "instrumented", "no file for spans can be kept in"  # the folder of garbage
    about = [line.split()[1].partition("=")[0] for line in lines if not any(words in line for words in said_besides)]
    assert len(about) == len(set(about))
    assert {name for name, kind in SETTINGS if kind in ("BOOL", "INTEGER", "NUMBER")} <= set(about)
    assert set(about) <= {name for name, kind in SETTINGS if kind != "FOREIGN"}
