"""What runs on the board: standard library only, Python 3.6 and later.

It goes there as one file (``edgesynth/devices/agent_package.py``) and imports nothing of the rest.

    program    the verbs: info, bench, build, fetch, clean        (start reading here)
    bench      one benchmark: what is done in which order
    build      from ONNX to an engine: cache, builder, failures
    engine     TensorRT from 7.1 on, over cuda; trtexec where Python has none
    power      the sensor: tegrastats, or the INA chips' files (ina)
    modes      power mode and clocks; guard puts them back, however the agent ends
    jobs       work that outlives the link
    tegrastats the parser, which the host uses too
"""
