"""What the demo, the integration tests and the benchmarks run: a ComfyUI (a checkout, or the stand-in), an
agent, workflows, and a reading of the spans that arrive. Every process is ended by whoever started it; every
wait has a deadline; servers are on loopback."""
