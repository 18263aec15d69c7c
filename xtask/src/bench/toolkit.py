"""Runs qwen3-asr-toolkit on one file. Run by `cargo xtask bench`, which passes one argument: a JSON object. Its last line says that the
text is there; then it waits to be measured and ended."""

import contextlib
import json
import os
import sys
import time

case = json.loads(sys.argv[1])

# The SDK reads these when it is imported.
os.environ["DASHSCOPE_HTTP_BASE_URL"] = case["api"]
os.environ["DASHSCOPE_API_KEY"] = "sk-bench"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

print("ready", flush=True)
with contextlib.redirect_stdout(sys.stderr):
    from qwen3_asr_toolkit import call_api

    sys.argv = ["qwen3-asr", "--input-file", case["file"], "--tmp-dir", case["folder"], "--silence"]
    call_api.main()
print("heard", flush=True)
time.sleep(3600)
