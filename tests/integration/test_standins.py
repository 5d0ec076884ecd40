"""The stand-ins themselves, without the library: they behave as ComfyUI's executors do, on every CPython."""

import pytest

from rig import pythons, scenarios, session
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(120)

VERSIONS = pythons.find()
EVERY = [(generation, version) for generation in scenarios.GENERATIONS for version in VERSIONS]

# The calls of the node function, in order of their ends, and how each ended: Success, Failure, Pending. The lines
# for lazy, expanding and async workflows are what real ComfyUI did with such graphs.
INVERTED_CALLS = {
    "ok": "1S 2S 3S 4S",
    "cached": "4S",
    "half-cached": "3S 4S",
    "diamond": "1S 5S 3S 2S 4S",
    "twins": "2S 1S 3S",
    "failing": "1S 2F",
    "failing-again": "2F",
    "interrupted-late": "1S 2S 3F",
    "lazy": "3S 4P 2S 1S 4S 5S",
    "expanding": "1P 1.0.0.1S 1.0.0.4P 1.0.0.3S 1.0.0.2S 1.0.0.4S 1S 2S",
    "expanding-fails": "1P 1.0.0.1F",
    "cycle": "",
    "expanding-to-cycle": "1P",
    "blocked": "1S 2S 3S",
    "lazy-late": "1S 2S 3S 4P 4S 5S",
    "async": "1S 2P 3P 2S 4S 3S 5S",
    "async-now": "1S 2S",
    "async-fails": "1S 2P 2F",
    "killing": "1S 2F",
}
RECURSIVE_CALLS = {
    "ok": "1S 2S 3S 4S",
    "cached": "4S",
    "half-cached": "3S 4S",
    "diamond": "1S 5S 2S 3S 4S",
    "twins": "1S 2S 3S",
    "failing": "1S 2F 3F",
    "interrupted-late": "1S 2S 3F 4F",
    "killing": "1S 2F 3F",
}

ENDS = {"success": "execution_success", "error": "execution_error", "interrupted": "execution_interrupted"}


@pytest.mark.parametrize("generation, version", EVERY)
def test_a_scenario_shows_its_outputs_when_it_succeeds(bare, generation, version):
    run = bare(generation, version)
    assert run.exit_code == 0
    for scenario in run.scenarios.values():
        history = run.histories[scenario.name]
        if scenario.kills_worker:
            assert history == {}
        else:
            shown = [entry["outputs"] for entry in history.values()]
            assert bool(shown[0]) == (scenario.status == "success" and scenario.shows), scenario.name


@pytest.mark.parametrize(
    "generation, version", [case for case in EVERY if case[0] not in ("r0", "r1", "r2", "r3")]
)
def test_the_messages_say_how_it_ended(bare, generation, version):
    run = bare(generation, version)
    for scenario in run.scenarios.values():
        for entry in run.histories[scenario.name].values():
            events = [event for event, _ in entry["status"]["messages"]]
            assert events == ["execution_start", "execution_cached", ENDS[scenario.status]], scenario.name


@pytest.mark.parametrize("generation", scenarios.GENERATIONS)
def test_nodes_are_called_in_the_order_of_real_executors(tmp_path, generation):
    run = session.run(StandIn(next(iter(VERSIONS.values())), generation, ["--log-calls"]), tmp_path)
    called = "\n".join(line for line in run.log if line.startswith(("prompt", "call "))).split("prompt")[1:]
    calls = {name: lines.replace("call ", "").split() for name, lines in zip(run.prompt_ids, called)}
    wanted = INVERTED_CALLS if generation in scenarios.INVERTED else RECURSIVE_CALLS
    if generation in ("x1", "a1"):
        wanted = dict(wanted, **{"lazy-late": "1S 2S 3S 4S 5S"})
    wanted = {name: wanted[name].split() for name in wanted if name in calls}
    assert {name: calls[name] for name in wanted} == wanted


@pytest.mark.parametrize("generation, version", EVERY)
def test_a_failure_is_logged_with_its_traceback(bare, generation, version):
    log = "\n".join(bare(generation, version).log)
    assert "ValueError: the sampler refused a négative σ" in log
    assert 'nodes.py", line' in log


@pytest.mark.parametrize("generation", scenarios.CACHE_NONE)
def test_without_caching_a_node_may_run_twice(tmp_path, generation):
    app = StandIn(next(iter(VERSIONS.values())), generation, ["--log-calls", "--cache-none"])
    run = session.run(app, tmp_path, wanted=["lazy-late"])
    calls = [line for line in run.log if line.startswith("call ")]
    assert " ".join(calls).replace("call ", "") == "1S 2S 3S 4P 1S 4S 5S"
