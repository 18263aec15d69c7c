"""What many would write in an afternoon: watchdog, the service's own SDK, nats-py. Run by `cargo xtask bench`, which passes one
argument: a JSON object. It publishes what Hark publishes, durably, and remembers nothing: what it is killed over is lost."""

import asyncio
import concurrent.futures
import hashlib
import json
import os
import sys
import uuid
from datetime import datetime, timezone

case = json.loads(sys.argv[1])

# The SDK reads these when it is imported.
os.environ["DASHSCOPE_HTTP_BASE_URL"] = case["api"]
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import dashscope  # noqa: E402
import nats  # noqa: E402
from watchdog.events import FileSystemEventHandler  # noqa: E402
from watchdog.observers import Observer  # noqa: E402

dashscope.api_key = "sk-bench"
MODEL = "qwen3-asr-flash"


class NewFiles(FileSystemEventHandler):
    def __init__(self, loop, queue):
        self.loop = loop
        self.queue = queue

    def add(self, path):
        self.loop.call_soon_threadsafe(self.queue.put_nowait, path)

    def on_created(self, event):
        if not event.is_directory:
            self.add(event.src_path)

    def on_moved(self, event):
        self.add(event.dest_path)


class Job:
    def __init__(self, nc, js, path, audio):
        self.nc, self.js = nc, js
        self.id = str(uuid.uuid4())
        self.sequence = 0
        self.recording = {
            "uri": "file://" + path,
            "name": os.path.basename(path),
            "sha256": hashlib.sha256(audio).hexdigest(),
            "bytes": len(audio),
            "format": "wav",
            "duration_ms": 10_000,
            "channels": 1,
        }

    def message(self, kind, tail, own):
        time = datetime.now(timezone.utc).isoformat()
        event_id = f"{self.id}:{tail}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "ce-type": "hark." + kind,
            "ce-source": "/hark/bench",
            "ce-subject": self.id,
            "ce-time": time,
            "ce-datacontenttype": "application/json",
            "ce-dataschema": f"urn:hark:{kind}:1",
            "Nats-Msg-Id": event_id,
        }
        body = {"job": self.id, "source": "bench", "time": time, "recording": self.recording, "metadata": {}, **own}
        return f"hark.event.{kind}.bench.{self.id}", json.dumps(body).encode(), headers

    async def store(self, kind, **own):
        self.sequence += 1
        subject, body, headers = self.message(kind, self.sequence, {"sequence": self.sequence, **own})
        await self.js.publish(subject, body, headers=headers)

    async def partial(self, revision, text):
        own = {"revision": revision, "channel": 0, "begin_ms": 0, "text": text}
        subject, body, headers = self.message("transcript.partial", f"p{revision}", own)
        await self.nc.publish(subject, body, headers=headers)


def recognize(path, on_text):
    """Blocking, as the SDK is."""
    answers = dashscope.MultiModalConversation.call(
        model=MODEL,
        messages=[{"role": "user", "content": [{"audio": "file://" + path}]}],
        result_format="message",
        asr_options={"enable_itn": False},
        stream=True,
        incremental_output=True,
    )
    text = ""
    for answer in answers:
        if answer.status_code != 200:
            raise RuntimeError(answer.message)
        content = answer.output.choices[0].message.content
        if content:
            text += content[0]["text"]
            on_text(text)
    return text


async def transcribe(loop, pool, nc, js, path):
    with open(path, "rb") as file:
        audio = file.read()
    job = Job(nc, js, path, audio)
    await job.store("job.accepted", route="default")
    texts = asyncio.Queue()
    call = loop.run_in_executor(
        pool, recognize, path, lambda text: loop.call_soon_threadsafe(texts.put_nowait, text)
    )
    call.add_done_callback(lambda _: texts.put_nowait(None))
    revision = 0
    while (text := await texts.get()) is not None:
        revision += 1
        if revision == 1:
            await job.store("job.submitted", engine="flash", model=MODEL)
        await job.partial(revision, text)
    text = await call
    segment = {"channel": 0, "begin_ms": 0, "end_ms": 10_000, "timing": "chunk", "language": "en", "text": text}
    await job.store(
        "transcript.final",
        engine="flash",
        model=MODEL,
        text=text,
        language="en",
        emotion="neutral",
        segments=[{**segment, "emotion": "neutral"}],
        usage={"seconds": 10},
    )
    await job.store("annotation.language", channel=0, value="en")
    await job.store("annotation.emotion", channel=0, value="neutral")
    await job.store("job.completed", audio_seconds=10.0, billed_seconds=10, cost_usd=0.0, elapsed_ms=0)


async def worker(queue, *things):
    while True:
        await transcribe(*things, await queue.get())


async def main():
    loop = asyncio.get_running_loop()
    nc = await nats.connect(case["nats"])
    js = nc.jetstream()
    subjects = ["hark.event.job.>", "hark.event.annotation.>", "hark.event.transcript.final.>"]
    await js.add_stream(name="HARK_EVENTS", subjects=subjects)
    queue = asyncio.Queue()
    observer = Observer()
    observer.schedule(NewFiles(loop, queue), case["folder"])
    observer.start()
    pool = concurrent.futures.ThreadPoolExecutor(case["concurrency"])
    workers = [asyncio.create_task(worker(queue, loop, pool, nc, js)) for _ in range(case["concurrency"])]
    print("ready", flush=True)
    # Runs until it is ended; a worker that fails ends it.
    await asyncio.gather(*workers)


asyncio.run(main())
