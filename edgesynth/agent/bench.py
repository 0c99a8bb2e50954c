"""The verb ``bench``: latency of single calls first, then power over a rest, a load and a rest.

The network runs in one process, the power sensor in another; this one watches both, stamps the sensor's lines
when they arrive, and puts the board back however it all ends.
"""

import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from edgesynth.agent import board, ina, modes, switching
from edgesynth.agent.asks import BenchAsk, read_bench
from edgesynth.agent.build import Built, build_engine
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.errors import STALE, NetworkFailure, Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.failures import classify, tells_no_memory
from edgesynth.agent.guard import Guard, guarded
from edgesynth.agent.info import gather
from edgesynth.agent.power import Intake, Sensor, open_sensor, shortened
from edgesynth.agent.settling import limit_of

__all__ = ["tell_bench"]

_SILENT_S = 5.0  # a sensor that says nothing for this long, and for ten intervals, hangs
_FACTS = ("model", "soc", "l4t", "python", "cuda")


def tell_bench(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve one benchmark."""
    ask = read_bench(request)
    with guarded(outbox) as guard:
        outbox.tell("start", **_conditions(ask, guard, outbox))
        if ask.load_s > 0:  # a missing rail is told now, not after minutes of building and timing
            open_sensor(ask.rate_hz, ask.rails, guard, outbox).process.close()
        built = build_engine(ask.build, guard, outbox)
        outbox.tell("start", **built.facts)
        try:
            memory_bytes = _Bench(ask, built, guard, outbox).run()
        except Refusal as refusal:
            if refusal.kind == "engine" and built.facts.get("engine_kept"):  # damaged, and would stay so
                os.remove(built.plan)
                raise Refusal("stale", STALE) from refusal
            raise
        outbox.tell("start", **_mode_after())
    outbox.tell("end", memory_bytes=memory_bytes)


def _conditions(ask: BenchAsk, guard: Guard, outbox: Outbox) -> Dict[str, Any]:
    """Bring the board into the state that is asked for; what it was, and what it is."""
    facts, _ = gather(_FACTS, outbox)
    found = {"board" if name == "model" else name: value for name, value in facts.items()}
    if board.place(""):
        found["root"] = board.place("")  # what follows is not told by this machine itself
    before, problem = modes.current_mode()
    present = before
    not_kept = switching.keep_clocks(guard) if ask.set_mode or ask.clocks == "fixed" else ""
    if ask.set_mode and ask.mode:
        switching.set_mode(ask.mode, guard)
        present, problem = modes.current_mode()
    if present is not None and present.name is not None:
        found["mode"] = present.name
        found["mode_id"] = present.id
    else:
        found["mode_unknown"] = problem
    if before is not None and before != present:
        found["mode_before"] = before.name
    if ask.clocks == "fixed":
        switching.fix_clocks(not_kept, guard)
    clocks, problem = modes.clock_report()
    found["clocks"] = ask.clocks
    found["clocks_mhz"] = clocks or problem
    found["sensor_modes"] = ina.running_modes()
    found["memory_available_mb"] = board.memory_mb().get("available")
    return found


def _mode_after() -> Dict[str, Any]:
    """The mode at the end: somebody may have changed it meanwhile."""
    present, problem = modes.current_mode()
    if present is None or present.name is None:
        return {"mode_after": None, "mode_unknown": problem}
    return {"mode_after": present.name}


class _Bench:
    """One benchmark under way."""

    def __init__(self, ask: BenchAsk, built: Built, guard: Guard, outbox: Outbox) -> None:
        self._ask = ask
        self._built = built
        self._guard = guard
        self._outbox = outbox
        self._answers: List[Dict[str, Any]] = []
        self._sensor_s = 0.0
        self._intake = Intake(ask.rate_hz)
        command = [sys.executable, sys.argv[0], "_run"]
        self._runner = LineProcess(command, guard, takes_input=True)

    def run(self) -> Optional[int]:
        """Both passes; returns the memory the engine takes."""
        ask = self._ask
        try:
            ready = self._do(
                "open",
                ask.slack_s,
                engine=self._built.plan,
                batch=ask.build.batch,
                runner=self._built.runner,
                cuda_graph=ask.cuda_graph,
                dla_core=ask.build.dla_core,
            )
            self._outbox.tell("start", cuda_access=ready["cuda"])
            if self._built.facts.get("free_inputs"):
                self._do("fix", ask.slack_s, shapes=self._built.facts["free_inputs"])
            warm_up_limit_s = limit_of(ask.warm_up_s, ask.warm_up_limit_s)
            # Of trtexec every try to settle is a run of its own, and the last one grows to the limit.
            limit_s = 3 * warm_up_limit_s + 3 * ask.latency_limit_s + ask.slack_s
            self._do(
                "latency",
                limit_s,
                warm_up_s=ask.warm_up_s,
                warm_up_limit_s=warm_up_limit_s,
                runs=ask.latency_runs,
                limit_s=ask.latency_limit_s,
            )
            if ask.load_s > 0:
                self._power_pass()
            else:
                self._tell_cooling()
            if ask.layer_runs > 0:  # last: a profiler slows whatever comes after it
                self._do("layers", limit_s, runs=ask.layer_runs)
        finally:
            self._runner.close()
        memory = ready["memory_bytes"]
        return None if memory is None else int(memory)

    def _power_pass(self) -> None:
        ask = self._ask
        sensor = open_sensor(ask.rate_hz, ask.rails, self._guard, self._outbox)
        try:
            self._outbox.tell("start", sensor_way=sensor.way, rails_seen=list(sensor.rails))
            self._sensor_s = begin_s = time.monotonic()
            sensor_cpu_s, own_cpu_s = sensor.process.cpu_s(), time.process_time()
            self._phase("idle_before", begin_s)
            self._rest(sensor, ask.idle_s)
            self._phase("load", time.monotonic())
            done = self._do("load", ask.load_s + ask.slack_s, sensor, seconds=ask.load_s)
            self._phase("idle_after", done["at"])
            self._tell_cooling()
            self._rest(sensor, ask.idle_s)
            end_s = time.monotonic()
            self._phase("end", end_s)
            spent_s = sensor.process.cpu_s() - sensor_cpu_s + time.process_time() - own_cpu_s
            self._outbox.tell("start", sampler_cpu_share=round(spent_s / (end_s - begin_s), 4))
            if self._intake.left_out:  # the sensor printed far more than it was asked for
                self._outbox.tell("start", sensor_lines_left_out=self._intake.left_out)
        finally:
            sensor.process.close()

    def _tell_cooling(self) -> None:
        """Say what slows the board down right after it has worked."""
        cooling = gather(("cooling",), self._outbox)[0]["cooling"] or {}
        self._outbox.tell("start", cooling_active=sorted(name for name in cooling if cooling[name] > 0))

    def _phase(self, name: str, at_s: float) -> None:
        self._outbox.tell("phase", name=name, at=at_s)

    def _rest(self, sensor: Sensor, seconds: float) -> None:
        """Let time pass while the sensor's lines are handed on."""
        end_s = time.monotonic() + seconds
        self._follow(sensor, lambda: False, end_s)

    def _do(
        self, what: str, patience_s: float, sensor: Optional[Sensor] = None, **values: Any
    ) -> Dict[str, Any]:
        """Give the runner a command and hand on what it tells until it has done it; returns its answer."""
        self._answers = []
        values["do"] = what
        self._runner.send(json.dumps(values))
        self._follow(sensor, lambda: bool(self._answers), time.monotonic() + patience_s)
        if self._answers:
            return self._answers[0]
        if self._runner.open:
            raise Refusal(
                "hung",
                "the network did not finish {!r} within {:.0f} s and was ended; repeat, and look at the "
                "board's load".format(what, patience_s),
            )
        status = self._runner.finish()
        raise classify("run", self._runner.errors(), status, board.memory_mb().get("available"))

    def _follow(self, sensor: Optional[Sensor], done: Callable[[], bool], until_s: float) -> None:
        handlers: Dict[LineProcess, Callable[[float, str], None]] = {self._runner: self._hear_runner}
        if sensor is not None:
            handlers[sensor.process] = self._hear_sensor
        silent_s = max(_SILENT_S, 10.0 / self._ask.rate_hz)

        def stop() -> bool:
            if sensor is not None and not sensor.process.open:
                said = sensor.process.errors().splitlines() or ["no reason given"]
                raise Refusal("hung", "the power sensor ({}) ended: {}; repeat".format(sensor.way, said[-1]))
            if sensor is not None and time.monotonic() - self._sensor_s > silent_s:
                raise Refusal(
                    "hung",
                    "the power sensor ({}) printed nothing for {:g} s; repeat, and look whether tegrastats "
                    "works by hand".format(sensor.way, silent_s),
                )
            return done() or not self._runner.open

        wait(handlers, stop, self._outbox, until_s=until_s)

    def _hear_sensor(self, at_s: float, line: str) -> None:
        self._sensor_s = at_s
        if self._intake.takes(at_s):
            self._outbox.tell("sensor", at=at_s, line=shortened(line))

    def _hear_runner(self, at_s: float, line: str) -> None:
        try:
            event = json.loads(line)
            kind = event.pop("event")
        except (ValueError, KeyError, AttributeError, TypeError):
            return  # a library printed it
        if kind in ("latency", "count", "layers", "start"):
            self._outbox.tell(kind, **event)
        elif kind in ("ready", "done"):
            self._answers.append(event)
        else:
            said = self._runner.errors()
            if tells_no_memory(said):  # whatever it led to
                raise classify("run", said, None, board.memory_mb().get("available"))
            raise (NetworkFailure if kind == "failed" else Refusal)(event["kind"], event["reason"])
