"""What runs on the board: standard library only, Python 3.6 and later.

It goes there as one file (``edgesynth/devices/agent_package.py``) and imports nothing of the rest.

    program    the verbs: info, bench, build, run, install, ...   (start reading here)
    bench      one benchmark: what is done in which order
    build      from ONNX to an engine: cache, builder, failures
    engine     TensorRT from 7.1 on, over cuda; trtexec (and its _trace, _engine) where Python has none
    settling   when a warm-up may end; the host's own bench program uses it too
    power      the sensor: tegrastats, or the INA chips' files (ina)
    modes      power mode and clocks; guard puts them back, however the agent ends
    run        an engine on arrays of files (npy), by way of inference
    bundles    what is installed: versions, one of them current; what they say of themselves is manifest
    standalone the one file that a bundle brings along for the user's own program
    jobs       work that outlives the link
    tegrastats the parser, which the host uses too
"""
