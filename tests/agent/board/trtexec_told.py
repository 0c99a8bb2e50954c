"""What trtexec tells of a build or a load that fails: lines of logs that people published."""

TOLD = {
    "memory": [
        "[E] Error[1]: [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "[W] [TRT] Requested amount of GPU memory (15485030400 bytes) could not be allocated. There may not "
        "be enough free memory for allocation to succeed.",
        "[E] Error[10]: IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
        "implementation for node {ForeignNode[/1/Constant_36_output_0.../1/Slice_4]}.)",
        "[E] Engine could not be created from network",
        "[E] Building engine failed",
        "[E] Failed to create engine from model or file.",
        "[E] Engine set up failed",
    ],
    "unsupported": [
        "[E] [TRT] parsers/onnx/ModelImporter.cpp:796: ERROR: parsers/onnx/ModelImporter.cpp:179 In function "
        "parseGraph:\n[6] Invalid Node - Identity_0\nonnx::QuantizeLinear_429: invalid weights type of Int8",
        "[E] Failed to parse onnx file",
        "[I] Finish parsing network model",
        "[E] Parsing model failed",
        "[E] Failed to create engine from model.",
        "[E] Engine set up failed",
    ],
    "unsaved": ["[E] Saving engine to file failed.", "[E] Engine set up failed"],
    "no_room_for_plan": [
        "[E] [TRT] 2: [virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: OutOfMemory (no further "
        "information)",
        "[E] Engine deserialization failed",
        "[E] Got invalid engine!",
        "[E] Inference set up failed",
    ],
    "profile": [
        "[E] Error[3]: IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check "
        "failed, condition: engineDims.d[i] == dims.d[i]. Static dimension mismatch while setting input "
        "shape.)",
        "[E] Inference set up failed",
    ],
    "timings": [
        "[E] TimingCache creation failed",
        "[E] Building engine failed",
        "[E] Failed to create engine from model or file.",
        "[E] Engine set up failed",
    ],
}
